DROP TABLE received_seen;
DROP TABLE received;

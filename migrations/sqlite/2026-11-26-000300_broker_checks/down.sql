DROP TABLE broker_checks;

DROP INDEX secrets_to_fold;
DROP INDEX principals_to_fold;
DROP TABLE data_steps;

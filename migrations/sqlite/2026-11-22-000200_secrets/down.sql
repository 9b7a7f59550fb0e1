DROP TABLE grants;
DROP TABLE secret_tags;
DROP TABLE secrets;

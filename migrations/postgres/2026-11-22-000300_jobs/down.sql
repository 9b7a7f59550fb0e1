DROP TABLE notices;
DROP TABLE job_rejections;
DROP TABLE lanes;
DROP TABLE job_secrets;
DROP TABLE jobs;

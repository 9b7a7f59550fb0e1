DROP TABLE members;
DROP TABLE principals;

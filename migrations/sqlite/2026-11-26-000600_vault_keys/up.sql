-- Which keys client secrets are sealed with: a process looks at its start whether it has the right one, and must not
-- read a million secrets for it. Only those that have a client secret are in it.
CREATE INDEX secrets_by_vault_key ON secrets (client_secret_key) WHERE client_secret_key IS NOT NULL;

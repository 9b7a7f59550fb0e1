DROP INDEX secrets_by_vault_key;

//! The examples with which each `--help` begins. A test takes each of them for a command line.

pub(super) const ALL: &str = "\
Examples:
  batchshare up
  batchshare share --as ana --tag prod --user bruno --group Payments:edit
  batchshare jobs list --user ana";
pub(super) const UP: &str = "\
Examples:
  batchshare up
  batchshare --config own.toml up";
pub(super) const SERVE: &str = "\
Examples:
  batchshare serve
  batchshare --config production.toml serve --migrate";
pub(super) const WORK: &str = "\
Examples:
  batchshare work
  batchshare --config production.toml work --migrate";
pub(super) const MIGRATE: &str = "\
Examples:
  batchshare migrate
  batchshare --config production.toml migrate";
pub(super) const IMPORT: &str = "\
Examples:
  batchshare import people.jsonl secrets.jsonl
  batchshare import -";
pub(super) const BACKUP: &str = "\
Examples:
  batchshare backup monday.db";
pub(super) const RESTORE: &str = "\
Examples:
  batchshare restore monday.db";
pub(super) const SHARE: &str = "\
Examples:
  batchshare share --as ana --secret 101 102 --user bruno
  batchshare share --as ana --tag prod --group Payments:edit --user bruno
  batchshare share --as ana --all --personal-group Oncall --no-wait";
pub(super) const UNSHARE: &str = "\
Examples:
  batchshare unshare --as ana --all --user bruno --dry-run
  batchshare unshare --as ana --tag prod --group Payments:edit
  batchshare unshare --as ana --secret 101 --user bruno --yes";
pub(super) const JOBS: &str = "\
Examples:
  batchshare jobs list --user ana
  batchshare jobs show 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d
  batchshare jobs export 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d --output report.csv";
pub(super) const JOBS_LIST: &str = "\
Examples:
  batchshare jobs list
  batchshare jobs list --user ana --state failed --limit 10";
pub(super) const JOBS_SHOW: &str = "\
Examples:
  batchshare jobs show 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d
  batchshare jobs show 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d --json --rejections 1000";
pub(super) const JOBS_WATCH: &str = "\
Examples:
  batchshare jobs watch 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d";
pub(super) const JOBS_CANCEL: &str = "\
Examples:
  batchshare jobs cancel 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d
  batchshare jobs cancel --all-of ana";
pub(super) const JOBS_UNDO: &str = "\
Examples:
  batchshare jobs undo 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d --dry-run
  batchshare jobs undo 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d --as-operator";
pub(super) const JOBS_REST: &str = "\
Examples:
  batchshare jobs rest 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d
  batchshare jobs rest 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d --reason disabled no_account";
pub(super) const JOBS_EXPORT: &str = "\
Examples:
  batchshare jobs export 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d --output report.csv
  batchshare jobs export 0198f7a2-6c1e-7d3a-9b7e-3f1f0a2b4c5d --format jsonl";
pub(super) const DEAD: &str = "\
Examples:
  batchshare dead list --reason not_json
  batchshare dead replay 17";
pub(super) const DEAD_LIST: &str = "\
Examples:
  batchshare dead list
  batchshare dead list --reason not_json --state kept --json";
pub(super) const DEAD_SHOW: &str = "\
Examples:
  batchshare dead show 17 --full";
pub(super) const DEAD_REPLAY: &str = "\
Examples:
  batchshare dead replay 17 18
  batchshare dead replay --reason attempts_exhausted";
pub(super) const DEAD_DISCARD: &str = "\
Examples:
  batchshare dead discard 17
  batchshare dead discard --reason not_json --yes";
pub(super) const AUDIT: &str = "\
Examples:
  batchshare audit list --since 7d --person bruno";
pub(super) const AUDIT_LIST: &str = "\
Examples:
  batchshare audit list --since 12h
  batchshare audit list --secret 101 --since 2026-11-01
  batchshare audit list --person bruno --json";
pub(super) const TOPOLOGY: &str = "\
Examples:
  batchshare topology
  batchshare --config production.toml topology --declare";
pub(super) const KEYGEN: &str = "\
Examples:
  batchshare keygen";
pub(super) const COMPLETIONS: &str = "\
Examples:
  batchshare completions bash
  batchshare completions fish";
pub(super) const MAN: &str = "\
Examples:
  batchshare man /usr/local/share/man/man1";

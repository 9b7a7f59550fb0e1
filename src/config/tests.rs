use std::collections::HashMap;

use proptest::prelude::*;

use super::layers::DEFAULTS;
use super::*;

pub(super) fn load(environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let environment =
        environment.iter().map(|(name, value)| (format!("BATCHSHARE__{name}"), (*value).to_owned()));
    Settings::load_with(None, environment.collect())
}

fn load_file(text: &str) -> Result<Settings, ConfigError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("write");
    Settings::load_with(Some(file.path()), HashMap::new())
}

/// Every number of the defaults, by its section and key.
fn numbers() -> Vec<(String, String)> {
    let defaults: toml::Table = DEFAULTS.parse().expect("TOML");
    let in_section = |(section, keys): (&String, &toml::Value)| {
        let keys = keys.as_table().expect("a section").iter();
        let numbers = keys.filter(|(_, value)| value.is_integer());
        numbers.map(|(key, _)| (section.clone(), key.clone())).collect::<Vec<_>>()
    };
    defaults.iter().flat_map(in_section).collect()
}

/// Where 0 is a number that can be meant: it switches off.
const OFF: [&str; 3] = ["check_interval_ms", "pairs_per_hour", "bytes_per_hour"];

#[test]
fn every_number_has_bounds_that_are_told_with_its_key_and_without_the_value() {
    assert!(numbers().len() > 25);
    for (section, key) in numbers() {
        let variable = format!("{section}__{key}").to_uppercase();
        let huge = [
            "99999999999",
            "9223372036854775807",
            "18446744073709551616",
            "340282366920938463463374607431768211456",
        ];
        for bad in ["0", "-1", "-7777", "", "x7777", "7777.5", "1e7777", "inf", "nan", "true"]
            .into_iter()
            .chain(huge)
            .filter(|bad| *bad != "0" || !OFF.contains(&key.as_str()))
        {
            let error = load(&[(&variable, bad)]).expect_err(&format!("{key} = {bad}")).to_string();
            assert!(error.contains(&format!("{section}.{key}")), "{error}");
            assert!(!error.contains('\n') && !error.contains("7777") && !error.contains("99999"), "{error}");
        }
        for bad in ["0", "-1", "9223372036854775807", "\"7777\"", "77.77", "[7777]", "7777-07-07", "true"]
            .into_iter()
            .filter(|bad| *bad != "0" || !OFF.contains(&key.as_str()))
        {
            let error = load_file(&format!("[{section}]\n{key} = {bad}\n")).expect_err(bad).to_string();
            assert!(error.contains(&format!("{section}.{key}")), "{error}");
            assert!(!error.contains("777") && !error.contains("9223"), "{error}");
        }
    }
}

#[test]
fn what_does_not_fit_together_is_one_line_with_both_keys() {
    for (settings, keys) in [
        (&[("DATABASE__CALL_TIMEOUT_MS", "20000")][..], ["statement_timeout_ms", "call_timeout_ms"]),
        (&[("DATABASE__STATEMENT_TIMEOUT_MS", "9000")][..], ["lock_timeout_ms", "statement_timeout_ms"]),
        (&[("DATABASE__READ_TIMEOUT_MS", "40001")][..], ["read_timeout_ms", "call_timeout_ms"]),
        (&[("BROKER__PREFETCH", "100")][..], ["worker.together", "broker.prefetch"]),
        (&[("WORKER__LANE_LEASE_MAX_MS", "20000")][..], ["lane_lease_ms", "lane_lease_max_ms"]),
        (&[("WORKER__SLICE_MS", "30001")][..], ["slice_ms", "lane_lease_ms"]),
        (&[("RELAY__LEASE_MS", "499")][..], ["relay.interval_ms", "relay.lease_ms"]),
        (&[("WORKER__DUE_INTERVAL_MS", "40000")][..], ["due_interval_ms", "lane_lease_ms"]),
        (&[("LIMITS__MESSAGE_BYTES", "100000")][..], ["gateway.max_body_bytes", "limits.message_bytes"]),
    ] {
        let error = load(settings).expect_err(keys[0]).to_string();
        assert!(keys.iter().all(|key| error.contains(key)) && !error.contains('\n'), "{error}");
    }
    for delays in ["", "0", "5000,0", "5000,-1", "5000,700000000000", "5000,x"] {
        let error = load(&[("WORKER__RETRY_DELAYS_MS", delays)]).expect_err(delays).to_string();
        assert!(error.contains("worker.retry_delays_ms"), "{error}");
    }
    let together =
        [("BROKER__PREFETCH", "1"), ("WORKER__TOGETHER", "1"), ("WORKER__RETRY_DELAYS_MS", "1, 2,3")];
    assert_eq!(load(&together).expect("they fit").worker.retry_delays_ms, [1, 2, 3]);
}

/// A password under the wrong key, or in a line that is none.
#[test]
fn no_error_repeats_a_value() {
    const SECRET: &str = "hunter2";
    let sections = [
        "database.url",
        "database.url_file",
        "broker.url",
        "broker.url_file",
        "broker.management_url",
        "broker.management_url_file",
        "broker.prefix",
        "gateway.hosts",
        "auth.mode",
        "auth.proxy.secret_file",
        "vault.key_file",
        "log.format",
        "worker.lanes",
    ];
    for key in sections {
        let variable = key.replace('.', "__").to_uppercase();
        for value in
            [SECRET, "amqp:/hunter2", "postgres://a:hunter2/@x", "sqlite:hunter2", "http://hunter2@x/"]
        {
            let Err(error) = load(&[(&variable, value)]) else { continue };
            // The names of files are no secrets, and who reads the line needs them.
            assert!(key.ends_with("_file") || !error.to_string().contains(SECRET), "{error}");
        }
    }
    for text in [
        "[database]\nurl = hunter2\n",
        "[database]\nurl = \"hunter2\n",
        "[database]\nurl \"hunter2\"\n",
        "[database]\nurl = \"hunter2\"\nurl = \"hunter2\"\n",
        "hunter2\n",
        "[database]\nurl = [\"hunter2\"]\n",
        "[database]\nurl = {password = \"hunter2\"}\n",
        "database = \"hunter2\"\n",
        "[auth]\nmode = \"hunter2\"\n",
        "[auth]\nmode = \"\"\"\nhunter2\"\"\"\n",
        "[auth]\nproxy = \"hunter2\"\n",
        "[gateway]\nhosts = \"hunter2\"\n",
        "[gateway]\nhosts = [1, \"hunter2\"]\n",
        "[worker]\nlanes = \"hunter2\"\n",
        "[database]\npasword = \"hunter2\"\n",
        "[broker]\nurl = \"amqp:hunter2\"\n",
    ] {
        let error = load_file(text).expect_err(text).to_string();
        assert!(!error.contains(SECRET) && !error.contains('\n'), "{text}: {error}");
    }
    let error = load_file("[gateway]\n\nlisten = 1 2\n").expect_err("no TOML").to_string();
    assert!(error.contains("line 3"), "{error}");
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    for (text, words) in [
        ("[gateway]\nport = 80\n", ["gateway.port", "unknown"]),
        ("[gatway]\n", ["gatway", "unknown"]),
        ("[worker]\nretry-delays-ms = [1]\n", ["worker.retry-delays-ms", "retry_delays_ms"]),
        ("[auth.proxy]\nuserheader = \"x\"\n", ["auth.proxy.userheader", "user_header"]),
    ] {
        let error = load_file(text).expect_err(text).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    for name in
        ["COLOUR", "DATABASE__COLOUR", "DATABASE", "DATABASE__URL__X", "AUTH__PROXY", "DATABASE__", "__"]
    {
        let error = load(&[(name, "red")]).expect_err(name).to_string();
        assert!(error.contains(name) && !error.contains("red"), "{error}");
    }
}

#[test]
fn a_text_from_the_environment_is_taken_as_it_stands() {
    for text in ["007", "1e5", "TRUE", "inf", "0x10", "1_000"] {
        assert_eq!(load(&[("BROKER__PREFIX", text)]).expect(text).broker.prefix, text);
    }
    let hosts = load(&[("GATEWAY__HOSTS", "a.example, localhost,")]).expect("a list").gateway.hosts;
    assert_eq!(hosts, ["a.example", "localhost"]);
}

fn secret_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("write");
    file
}

#[test]
fn urls_come_from_files_like_other_secrets() {
    let (database, broker) =
        (secret_file("postgres://me:hunter2@db/vault\r\n"), secret_file("amqp://me:hunter2@mq/\n"));
    let name = |file: &tempfile::NamedTempFile| file.path().display().to_string();
    let files = [("DATABASE__URL_FILE", &*name(&database)), ("BROKER__URL_FILE", &*name(&broker))];
    let settings = load(&files).expect("both from files");
    assert_eq!(settings.database.url, "postgres://me:hunter2@db/vault");
    assert_eq!(settings.broker.url, "amqp://me:hunter2@mq/");
    assert!(!format!("{settings:?}").contains("hunter2"));

    let management = secret_file("http://me:hunter2@mq:15672\n");
    let third = ("BROKER__MANAGEMENT_URL_FILE", &*name(&management));
    let settings = load(&[files[0], files[1], third]).expect("all from files");
    assert_eq!(settings.broker.management_url, "http://me:hunter2@mq:15672");
    let twice = [files[0], files[1], third, ("BROKER__MANAGEMENT_URL", "http://me:other@mq:15672")];
    let error = load(&twice).expect_err("twice").to_string();
    assert!(error.contains("broker.management_url_file") && !error.contains("other@"), "{error}");

    let both = [files[0], files[1], ("BROKER__URL", "amqp://me:other@mq/")];
    let error = load(&both).expect_err("twice").to_string();
    assert!(
        error.contains("broker.url") && error.contains("broker.url_file") && !error.contains("other@"),
        "{error}"
    );

    let open: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(database.path(), open).expect("chmod");
    let error = load(&files).expect_err("open to all").to_string();
    assert!(
        error.contains("database.url_file") && error.contains("0644") && !error.contains("hunter2"),
        "{error}"
    );

    for text in ["", "\n", "mysql://hunter2", "sqlite://b.db\n\nhunter2", "\u{feff}postgres://hunter2"] {
        let file = secret_file(text);
        let error = load(&[("DATABASE__URL_FILE", &name(&file))]).expect_err(text).to_string();
        assert!(error.contains("database.url") && !error.contains("hunter2"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a file holds, it is settings or one line, and the line has none of its values.
    #[test]
    fn no_text_panics_and_no_error_has_a_line_of_it(noise in "[a-z_=\\[\\]\"'{}., \n0-9#-]{0,60}") {
        let text = format!("[database]\nurl = \"sqlite://hunter2secret.db\"\n{noise}\nlog = \"hunter2secret\"\n");
        if let Err(error) = load_file(&text) {
            let error = error.to_string();
            prop_assert!(!error.contains("hunter2secret") && !error.contains('\n'), "{}", error);
        }
    }

    /// Numbers that were accepted can be waited for and multiplied as the program does it.
    #[test]
    fn accepted_numbers_overflow_nothing(value in any::<u64>(), index in 0_usize..64) {
        let numbers = numbers();
        let (section, key) = &numbers[index % numbers.len()];
        if let Ok(settings) = load(&[(&format!("{section}__{key}").to_uppercase(), &value.to_string())]) {
            let options = settings.db_options();
            prop_assert!(std::time::Instant::now().checked_add(options.call_timeout * 16).is_some());
            prop_assert!(settings.relay.batch.checked_mul(4).is_some());
        }
    }
}

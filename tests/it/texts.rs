//! Texts as people mean them: found, selected, shared and sorted by one rule, on both databases, in rows of today and
//! of before.

use std::collections::BTreeSet;
use std::io::Cursor;

use batchshare::db;
use batchshare::db::MigrationState;
use batchshare::domain::text;
use batchshare::domain::{AllFilter, Permission, Selection};
use batchshare::store;
use batchshare::store::{SecretFilter, SecretSort};
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};

use crate::fixtures::Fixture;
use crate::gateway::app::App;
use crate::on_both_stores;
use crate::support::{Kind, TestDb};
use crate::world::{ANA, BRUNO, World, principal, share_as, to};

fn composed(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

fn decomposed(text: &str) -> String {
    DecomposingNormalizerBorrowed::new_nfd().normalize(text).into_owned()
}

const WORDS: &[&str] = &[
    "ação",
    "Água",
    "José",
    "straße",
    "GROẞ",
    "ﬁltro",
    "ÇÃO",
    "naïve",
    "Łódź",
    "ÉCLAIR",
    "İstanbul",
    "ΟΔΌΣ",
    "οδός",
    "100%",
    "a_b",
    "c\\d",
    "Zürich",
    "한국",
    "produção",
    "n\u{303}andu\u{301}",
    "'quoted'",
    "\"double\"",
    "[1]",
    "$2",
    "x:y",
    "e\u{301}e\u{300}",
    "crème",
    "日本",
    "12",
    "7",
];

/// A way to write a text that means the same.
fn spelled(text: &str, rng: &mut StdRng) -> String {
    let mut words: Vec<String> = text
        .split_whitespace()
        .map(|word| match rng.random_range(0..6) {
            0 => composed(word),
            1 => decomposed(word),
            2 => word.to_uppercase(),
            3 => decomposed(&word.to_lowercase()),
            4 => text::fold(word),
            _ => word.to_owned(),
        })
        .collect();
    words.shuffle(rng);
    words.join(*["\u{20}", "  ", "\u{a0}", "\u{3000}"].choose(rng).expect("some"))
}

/// What "select all" takes, in parts of at most so many.
async fn selected(world: &World, filter: &SecretFilter, limit: usize) -> Vec<i64> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let part = world.store.selectable_secrets(principal(ANA), filter.clone(), after, limit);
        let part = part.await.expect("a part");
        after = part.more_after;
        let these: Vec<i64> = part.map(|one| one.id.get()).collect();
        assert!(these.len() == limit || (these.len() < limit && after.is_none()));
        ids.extend(these);
        if after.is_none() {
            return ids;
        }
    }
}

struct Row {
    id: i64,
    name: String,
    identifier: String,
    url: String,
}

fn some_rows(rng: &mut StdRng, ids: std::ops::Range<i64>) -> Vec<Row> {
    ids.map(|id| {
        let count = rng.random_range(1..4);
        let mut words: Vec<&str> = (0..count).filter_map(|_| WORDS.choose(rng).copied()).collect();
        let identifier = words.pop().filter(|_| rng.random_bool(0.3)).unwrap_or_default();
        words.push(WORDS.choose(rng).copied().unwrap_or_default());
        Row {
            id,
            name: words.join(" "),
            identifier: format!("{identifier}-{id}x"),
            url: format!("https://{id}h.example/{}", WORDS.choose(rng).copied().unwrap_or_default()),
        }
    })
    .collect()
}

/// The rule, read row by row.
fn expected(rows: &[Row], search: &str) -> Vec<i64> {
    let fits = |row: &&Row| {
        search.split_whitespace().all(|word| {
            let fields = [&row.name, &row.identifier, &row.url];
            fields.iter().any(|field| text::fold(field).contains(&text::fold(word)))
                || row.id.to_string() == word
        })
    };
    rows.iter().filter(fits).map(|row| row.id).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Rows as the program of before wrote them: in lower case, with their accents, in whatever form they came.
async fn insert_as_before(test: &TestDb, rows: &[Row]) {
    let mut sql = String::new();
    for Row { id, name, identifier, url } in rows {
        let search = format!("{name}\n{identifier}\n{url}").to_lowercase();
        sql.push_str(&format!(
            "INSERT INTO secrets (id, owner_id, name, url, client_id, identifier, method, notes, disabled, search_text, updated_at) \
             VALUES ({id}, {ANA}, {}, {}, 'ci', {}, 'GET', '', false, {}, 0);",
            quoted(name), quoted(url), quoted(identifier), quoted(&search),
        ));
    }
    test.sql(&sql).await;
}

fn line(row: &Row) -> String {
    serde_json::json!({"type": "secret", "id": row.id, "owner": ANA, "name": row.name, "url": row.url, "client_id": "ci", "identifier": row.identifier})
        .to_string()
}

fn searching(search: &str) -> SecretFilter {
    SecretFilter { search: search.to_owned(), ..SecretFilter::default() }
}

async fn listed(world: &World, filter: &SecretFilter) -> Vec<i64> {
    let found = world
        .store
        .secrets(principal(ANA), filter.clone(), SecretSort::Id, None, 1_000)
        .await
        .expect("a listing");
    found.0.iter().map(|item| item.id.get()).collect()
}

/// What a job for all that match shares with Bruno.
async fn shared(world: &World, filter: AllFilter) -> Vec<i64> {
    world.test.sql("DELETE FROM grants").await;
    world.run(&share_as(ANA, Selection::All(filter), vec![to(BRUNO, Permission::View)])).await;
    let ids = world.test.texts("SELECT CAST(secret_id AS TEXT) AS t FROM grants ORDER BY secret_id").await;
    ids.iter().map(|id| id.parse().expect("an id")).collect()
}

/// As after the migration of a database with rows: a step is left.
async fn step_is_left(test: &TestDb) {
    test.sql("INSERT INTO data_steps (name) VALUES ('fold texts')").await;
}

async fn folded(test: &TestDb) -> i64 {
    let stale = |table: &str| format!("(SELECT count(*) FROM {table} WHERE search_text NOT LIKE '%\n\t')");
    test.number(&format!("{} + {}", stale("principals"), stale("secrets"))).await
}

on_both_stores! {
    async fn every_spelling_of_a_text_finds_the_same_rows_and_all_shares_what_the_listing_shows(kind: Kind) {
        let mut rng = StdRng::seed_from_u64(11);
        let world = World::new(kind).await;
        let mut rows = some_rows(&mut rng, 1..60);
        insert_as_before(&world.test, &rows).await;
        step_is_left(&world.test).await;
        assert_eq!(
            db::migration_state(&world.test.db).await.expect("state"),
            MigrationState::Pending(vec!["fold texts".to_owned()])
        );
        store::migrate(&world.test.db).await.expect("migrated");
        let new = some_rows(&mut rng, 60..120);
        let lines: Vec<String> = new.iter().map(line).collect();
        world.store.import(Cursor::new(lines.join("\n")), None).await.expect("imported");
        rows.extend(new);

        for _ in 0..120 {
            let row = rows.choose(&mut rng).expect("some");
            let text = match rng.random_range(0..5) {
                0 => row.name.clone(),
                1 => format!("{} {}", row.identifier, row.name),
                2 => row.id.to_string(),
                3 => format!("{} {}", row.id, row.name.split_whitespace().next().unwrap_or_default()),
                _ => WORDS.choose(&mut rng).expect("some").to_string(),
            };
            let ids = expected(&rows, &text);
            assert!(!ids.is_empty(), "{text} finds its own row");
            for search in [text.clone(), spelled(&text, &mut rng), spelled(&text, &mut rng)] {
                let filter = searching(&search);
                assert_eq!(listed(&world, &filter).await, ids, "{search:?} for {text:?}");
                // In parts, whatever their size: each once, in order.
                let limit = *[1, 2, 7, ids.len(), 1_000].choose(&mut rng).expect("some");
                assert_eq!(selected(&world, &filter, limit).await, ids, "{search:?} by {limit}");
            }
            let search = Some(spelled(&text, &mut rng));
            assert_eq!(shared(&world, AllFilter { search, ..AllFilter::default() }).await, ids, "{text:?}");
        }
        for nothing in ["\u{301}", "\u{200b}", "%", "nobody ação", "ação nobody", "0120", "--"] {
            assert_eq!(listed(&world, &searching(nothing)).await, expected(&rows, nothing).into_iter().filter(|_| nothing == "%").collect::<Vec<_>>(), "{nothing:?}");
        }
        for everything in ["", " ", "\u{a0}\u{3000}"] {
            assert_eq!(listed(&world, &searching(everything)).await.len(), rows.len());
        }
    }

    async fn recipients_are_found_by_the_same_rule(kind: Kind) {
        let app = App::start(kind, Fixture::new()
            .person(1, "ana", "Ana Souza", "ana@example.com")
            .person(2, "jgs", "João Gonçalves da Silva", "joao@corp.example")
            .person(3, "jg2", "JOA\u{303}O Gonc\u{327}alves", "x@corp.example")
            .person(27, "maria", "Maria Água", "")
            .user_group(40, "Segurança da Informação", &[1])).await;
        let find = async |search: &str| {
            let query: String = search.bytes().map(|byte| format!("%{byte:02X}")).collect();
            app.get("ana", &format!("/recipients?search={query}")).await.ids()
        };
        for search in ["gonc", "GONÇ", "joao gonc", "gonçalves joa\u{303}o", "corp jo"] {
            let mut ids = find(search).await;
            ids.sort_unstable();
            assert_eq!(ids, [2, 3], "{search}");
        }
        assert_eq!(find("seguranca").await, [40]);
        assert_eq!(find("informacao SEGURANÇA").await, [40]);
        assert_eq!(find("agua maria").await, [27]);
        assert_eq!(find("silva corp").await, [2]);
        assert_eq!(find("27").await, [27]);
        assert_eq!(find("agua silva").await, [0_i64; 0]);
        // Who is called exactly so comes first.
        assert_eq!(find("joao gonçalves").await, [3, 2]);
    }

    async fn a_tag_is_one_however_it_was_composed_and_sharing_by_it_takes_all(kind: Kind) {
        let world = World::new(kind).await;
        let rows = some_rows(&mut StdRng::seed_from_u64(3), 1..40);
        insert_as_before(&world.test, &rows).await;
        let (one, two) = ("produção", "produc\u{327}a\u{303}o");
        let mut sql = String::new();
        for row in &rows {
            // Some have both, some one, some another.
            let both = [Some(one).filter(|_| row.id % 3 != 0), Some(two).filter(|_| row.id % 3 != 1)];
            let more = Some("Produção").filter(|_| row.id % 7 == 0);
            for tag in both.into_iter().chain([more]).flatten() {
                sql.push_str(&format!("INSERT INTO secret_tags (secret_id, tag) VALUES ({}, '{tag}');", row.id));
            }
        }
        world.test.sql(&sql).await;
        step_is_left(&world.test).await;
        store::migrate(&world.test.db).await.expect("migrated");
        let new = r#"{"type":"secret","id":500,"owner":1,"name":"New","url":"https://a.example","client_id":"c","tags":["produc\u0327a\u0303o","produção"]}"#;
        world.store.import(Cursor::new(new), None).await.expect("imported");

        let all: Vec<i64> = rows.iter().map(|row| row.id).chain([500]).collect();
        let tags = world.store.secret_tags(principal(ANA), SecretFilter::default()).await.expect("tags");
        assert_eq!(tags, ["Produção", "produção"]);
        assert_eq!(world.test.number("SELECT count(*) FROM secret_tags WHERE secret_id = 500").await, 1);
        for tag in [one, two] {
            let filter = SecretFilter { tag: tag.to_owned(), ..SecretFilter::default() };
            assert_eq!(listed(&world, &filter).await, all, "{tag:?}");
            let shared = shared(&world, AllFilter { tag: Some(tag.to_owned()), ..AllFilter::default() }).await;
            assert_eq!(shared, all, "{tag:?}");
        }
        let filter = SecretFilter { tag: "Produc\u{327}ão".to_owned(), ..SecretFilter::default() };
        assert_eq!(listed(&world, &filter).await, [7, 14, 21, 28, 35], "case tells tags apart");
    }

    async fn texts_of_before_are_folded_once_by_any_number_of_processes(kind: Kind) {
        let world = World::new(kind).await;
        let rows = some_rows(&mut StdRng::seed_from_u64(5), 1..2_300);
        for part in rows.chunks(500) {
            insert_as_before(&world.test, part).await;
        }
        step_is_left(&world.test).await;
        assert!(folded(&world.test).await > 2_000);
        let all = futures_util::future::join_all((0..4).map(|_| store::migrate(&world.test.db))).await;
        let done: usize = all.into_iter().map(|names| names.expect("migrated").len()).sum();
        assert!((1..=4).contains(&done));
        assert_eq!(folded(&world.test).await, 0);
        assert_eq!(db::migration_state(&world.test.db).await.expect("state"), MigrationState::Current);
        assert!(store::migrate(&world.test.db).await.expect("nothing to do").is_empty());
    }

    async fn a_step_that_was_stopped_goes_on_where_it_was(kind: Kind) {
        let world = World::new(kind).await;
        insert_as_before(&world.test, &some_rows(&mut StdRng::seed_from_u64(6), 1..50)).await;
        step_is_left(&world.test).await;
        let refuse = match kind {
            Kind::Sqlite => "CREATE TRIGGER refuse BEFORE UPDATE ON secrets WHEN OLD.id = 30 BEGIN SELECT RAISE(ABORT, 'no'); END",
            Kind::Postgres => "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN IF OLD.id = 30 THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $f$; \
                               CREATE TRIGGER refuse BEFORE UPDATE ON secrets FOR EACH ROW EXECUTE FUNCTION refuse()",
        };
        world.test.sql(refuse).await;
        store::migrate(&world.test.db).await.expect_err("stopped on the way");
        assert_eq!(db::migration_state(&world.test.db).await.expect("state"), MigrationState::Pending(vec!["fold texts".to_owned()]));
        world.test.sql(if kind == Kind::Sqlite { "DROP TRIGGER refuse" } else { "DROP TRIGGER refuse ON secrets" }).await;
        assert_eq!(store::migrate(&world.test.db).await.expect("goes on"), ["fold texts"]);
        assert_eq!(folded(&world.test).await, 0);
    }

    async fn what_an_older_program_writes_meanwhile_is_folded_by_a_worker(kind: Kind) {
        let world = World::new(kind).await;
        let row = Row { id: 1, name: "Segurança".to_owned(), identifier: "S".to_owned(), url: "https://a.example".to_owned() };
        insert_as_before(&world.test, &[row]).await;
        world.test.sql("INSERT INTO secret_tags (secret_id, tag) VALUES (1, 'a\u{303}')").await;
        while world.store.fold_stale_texts().await.expect("folded") {}
        assert_eq!(folded(&world.test).await, 0);
        assert_eq!(listed(&world, &searching("SEGURANCA")).await, [1]);
        assert_eq!(world.test.texts("SELECT tag AS t FROM secret_tags").await, ["ã"]);
        assert!(!world.store.fold_stale_texts().await.expect("nothing is left"));
        // A change by today's program leaves nothing to fold.
        let patch = batchshare::domain::SecretPatch { name: Some("Água".to_owned()), ..Default::default() };
        world.store.edit_secret(principal(ANA), crate::world::secret(1), patch, None).await.expect("edited");
        assert_eq!(folded(&world.test).await, 0);
        assert_eq!(listed(&world, &searching("agua")).await, [1]);
    }

    async fn names_are_in_order_whatever_their_accents_and_case(kind: Kind) {
        let names = ["água", "Agua 2", "ÁGUA 3", "éclair", "Eclair 2", "zurique", "Zürich", "a\u{301}gua 4", "Öl", "oliva", "ação"];
        let mut fixture = Fixture::new().user(1, "ana");
        for (id, name) in (101..).zip(names) {
            fixture = fixture.secret(id, 1, name);
        }
        let app = App::start(kind, fixture).await;
        let mut in_order: Vec<(String, i64)> = names.iter().map(|name| text::fold(name)).zip(101..).collect();
        in_order.sort_unstable();
        let in_order: Vec<i64> = in_order.into_iter().map(|(_, id)| id).collect();
        assert_eq!(in_order, [111, 101, 102, 103, 108, 104, 105, 109, 110, 107, 106]);
        for (sort, expected) in [("name", in_order.clone()), ("-name", in_order.into_iter().rev().collect())] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = app.get("ana", &format!("/secrets?sort={sort}&limit=2&cursor={cursor}")).await;
                page.ok(200);
                seen.extend(page.ids());
                let Some(next) = page.next() else { break };
                cursor = next;
            }
            assert_eq!(seen, expected, "{sort}");
        }
        // A place in the order of before is none in this one: `101 água`, and a place among ids.
        for old in ["MTAxIMOhZ3Vh", "MTAxIA"] {
            assert_eq!(app.get("ana", &format!("/secrets?cursor={old}")).await.problem(400), "cursor");
        }
    }

    async fn two_of_one_name_are_told_apart_wherever_they_are_named(kind: Kind) {
        let app = App::start(kind, Fixture::new()
            .person(1, "ana", "Ana Souza", "ana@example.com")
            .person(2, "joao.silva", "João Silva", "joao@a.example")
            .person(3, "jsilva", "João Silva", "j@b.example")
            .no_account(3)
            .user_group(10, "Time", &[2])
            .personal_group(20, "Seen by nobody else", 2, &[])
            .secret(101, 1, "Stripe").view(101, 2).view(101, 3).view(101, 10).view(101, 20)).await;
        let grants = app.get("ana", "/secrets/101/grants").await;
        let of = |id: i64| {
            let items = grants.ok(200)["items"].as_array().expect("items");
            let item = items.iter().find(|item| item["principal_id"] == id).expect("a grant");
            (item["name"].as_str(), item["username"].as_str(), item["email"].as_str())
        };
        assert_eq!(of(2), (Some("João Silva"), Some("joao.silva"), Some("joao@a.example")));
        assert_eq!(of(3), (Some("João Silva"), Some("jsilva"), Some("j@b.example")));
        assert_eq!(of(10), (Some("Time"), None, None));
        assert_eq!(of(20), (None, None, None));
        for path in ["/secrets/101", "/secrets?ids=101"] {
            let answer = app.get("jsilva", path).await;
            assert_eq!(answer.status, 403, "no account");
            let answer = app.get("joao.silva", path).await;
            let secret = answer.ok(200)["items"].get(0).unwrap_or(&answer.body);
            assert_eq!(secret["owner"], serde_json::json!({"id": 1, "name": "Ana Souza", "username": "ana"}));
        }
    }

    async fn a_username_is_compared_exactly(kind: Kind) {
        let app = App::start(kind, Fixture::new().user(1, "ana").user(2, "josé").secret(101, 1, "S")).await;
        app.get("ana", "/me").await.ok(200);
        app.get("josé", "/me").await.ok(200);
        for other in ["Ana", "ANA", "ana\u{a0}", "\u{3000}ana", "ana\u{200b}", "\u{feff}ana", "an\u{e1}", "a na", "jose\u{301}", "jose", "\u{202e}ana"] {
            app.get(other, "/me").await.problem(401);
        }
    }

    async fn a_search_is_bounded(kind: Kind) {
        let app = App::start(kind, Fixture::new().user(1, "ana").secret(101, 1, "a")).await;
        let letters = |n: usize| "a".repeat(n);
        let words = |n: usize| (0..n).map(|n| format!("{n}x")).collect::<Vec<_>>().join("+");
        for path in ["/secrets", "/secrets/ids", "/secrets/tags", "/recipients"] {
            for (query, is_fine) in [
                (format!("search={}", letters(200)), true), (format!("search={}", letters(201)), false),
                (format!("search={}", "%C3%A3".repeat(200)), true), (format!("search={}", words(16)), true), (format!("search={}", words(17)), false),
            ] {
                let answer = app.get("ana", &format!("{path}?{query}")).await;
                if is_fine { answer.ok(200); } else { assert_eq!(answer.problem(400), "search"); }
            }
        }
        app.get("ana", &format!("/secrets?tag={}", letters(60))).await.ok(200);
        assert_eq!(app.get("ana", &format!("/secrets?tag={}", letters(61))).await.problem(400), "tag");
    }
}

#[test]
fn words_of_the_property_test_are_many_and_differ() {
    let folds: BTreeSet<String> = WORDS.iter().map(|word| text::fold(word)).collect();
    assert!(folds.len() > 20);
}

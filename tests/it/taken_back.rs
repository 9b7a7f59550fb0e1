//! A large job in the production shape is cancelled in the middle and undone, and afterwards the grants are what they were
//! before, row by row. Processes are killed (SIGKILL) in the middle of the share, of the cancel and of the undo, and
//! started again.
//!
//! `./dev chaos --undo 5000x200` runs it with so many secrets and recipients (300x20 by default).

use serde_json::{Value, json};

use crate::held::Psql;
use crate::process::{Program, http, try_http, until};
use crate::production::Site;
use crate::support::eventually;

/// The first of the people and the first of the secrets that are shared.
const PEOPLE: i64 = 10_001;
const SECRETS: i64 = 100_001;
/// About so many chunks are in the job.
const CHUNKS: i64 = 100;

struct Large {
    site: Site,
    secrets: i64,
    people: i64,
}

/// The grants as one text, from who has what, which jobs gave it, and since when. For a view of no known job, `view_job` may
/// be null or 0, which mean the same. Summing up hashes needs no order of the rows.
const ROWS: &str = "SELECT count(*) || ' ' || COALESCE(sum(hashtextextended(concat_ws(' ', secret_id, principal_id, permission, \
    COALESCE(view_job, 0), COALESCE(edit_job, 0), granted_at, COALESCE(edit_at, 0)), 0)::numeric), 0) AS t FROM grants";

/// Each secret that is given to the first of the people or taken from them costs so many seconds, from the position
/// `after` of each of the two lanes on. So the middle of a job is there for as long as the test needs it, however fast the
/// machine is, and however slow. Whoever sleeps looks again and again, so a change holds at once.
const PACE: &str = "CREATE TABLE pace (seconds float8, after int8, lane int8); INSERT INTO pace VALUES (0, 0, 1); \
    CREATE FUNCTION pace() RETURNS trigger LANGUAGE plpgsql AS $$ \
    DECLARE began timestamptz := clock_timestamp(); place int8; \
    BEGIN \
      IF TG_OP = 'DELETE' THEN place := OLD.secret_id - 100001; ELSE place := NEW.secret_id - 100001; END IF; \
      WHILE EXISTS (SELECT 1 FROM pace WHERE place % lane >= after AND clock_timestamp() < began + make_interval(secs => seconds)) \
      LOOP PERFORM pg_sleep(0.01); END LOOP; \
      IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; \
      RETURN NEW; \
    END $$; \
    CREATE TRIGGER pace_in BEFORE INSERT ON grants FOR EACH ROW WHEN (NEW.principal_id = 10001) EXECUTE FUNCTION pace(); \
    CREATE TRIGGER pace_out BEFORE DELETE ON grants FOR EACH ROW WHEN (OLD.principal_id = 10001) EXECUTE FUNCTION pace();";

impl Large {
    async fn start() -> Self {
        let size = std::env::var("BATCHSHARE_TAKEN_BACK").unwrap_or_else(|_| "300x20".to_owned());
        let (secrets, people) = size.split_once('x').expect("secrets x recipients");
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let (secrets, people) = (number(secrets), number(people));
        let chunk = secrets * people / CHUNKS;
        let site = Site::start_with(vec![
            ("BATCHSHARE__WORKER__CHUNK_PAIRS", chunk.to_string()),
            ("BATCHSHARE__WORKER__SLICE_MS", "100".to_owned()),
        ])
        .await;
        let (last_person, last_secret) = (PEOPLE + people - 1, SECRETS + secrets - 1);
        site.db
            .sql(&format!(
                "INSERT INTO principals (id, kind, name, active, username, email, has_account, visible_to_members, search_text) \
                 SELECT id, 1, 'p' || id, true, 'p' || id, NULL, true, false, '' FROM generate_series({PEOPLE}, {last_person}) AS id; \
                 INSERT INTO secrets (id, owner_id, name, url, client_id, method, notes, disabled, search_text, updated_at) \
                 SELECT id, 1, 's' || id, 'https://a.example', 'ci', 'GET', '', false, '', 0 \
                 FROM generate_series({SECRETS}, {last_secret}) AS id; \
                 INSERT INTO grants (secret_id, principal_id, permission, granted_at) SELECT id, {PEOPLE} + 2, 1 + id % 2, 0 \
                 FROM generate_series({SECRETS}, {last_secret}) AS id; {PACE}"
            ))
            .await;
        Self { site, secrets, people }
    }

    /// From now on a chunk takes so many seconds, if it is behind so many percent of its lane.
    async fn pace(&self, seconds: f64, behind_percent: i64) {
        let (chunk, lane) = ((self.secrets / CHUNKS).max(1) as f64, self.secrets / 2);
        let after = lane * behind_percent / 100;
        let sql = format!("UPDATE pace SET seconds = {}, after = {after}, lane = {lane}", seconds / chunk);
        self.site.db.sql(&sql).await;
    }

    async fn rows(&self) -> String {
        self.site.db.texts(ROWS).await.pop().expect("a row")
    }

    /// A share of every `step`-th secret with the people from the one at `first` on. Every other of them gets `best`.
    fn share(&self, step: usize, first: i64, best: &str, gateway: usize) -> String {
        let ids: Vec<i64> = (SECRETS..SECRETS + self.secrets).step_by(step).collect();
        let permission = |id: i64| if id % 2 == 0 { best } else { "view" };
        let recipients: Vec<Value> = (PEOPLE + first..PEOPLE + self.people)
            .map(|id| json!({"kind": "user", "id": id, "permission": permission(id)}))
            .collect();
        let body = json!({"secrets": {"ids": ids}, "recipients": recipients});
        self.post(gateway, "/api/v1/share-jobs", &body)
    }

    /// Asks for a job, and returns its id.
    fn post(&self, gateway: usize, path: &str, body: &Value) -> String {
        let (status, job) = http("POST", &self.site.addresses[gateway], path, "ana", Some(body));
        assert_eq!(status, 202, "{job}");
        job["job_id"].as_str().expect("an id").to_owned()
    }

    fn job(&self, id: &str) -> Value {
        http("GET", &self.site.addresses[0], &format!("/api/v1/share-jobs/{id}"), "ana", None).1
    }

    fn ended(&self, id: &str) -> Value {
        until("the job's end", 300, || Some(self.job(id)).filter(|job| !job["finished_at"].is_null()))
    }

    /// Waits until so many more of the job's pairs are done, in percent. It is still running then.
    fn is_under_way(&self, id: &str, percent: i64) {
        let done = |job: &Value| job["done_pairs"].as_i64().expect("a number");
        let enough = done(&self.job(id)) + self.secrets * self.people * percent / 100;
        let job = until("some progress", 120, || Some(self.job(id)).filter(|job| done(job) >= enough));
        assert_eq!(job["finished_at"], Value::Null, "it is in the middle");
    }

    fn kill_workers(&mut self) {
        for work in &mut self.site.work {
            work.kill();
            *work = Program::start(&["work"], &self.site.env);
        }
    }

    fn kill_gateway(&mut self, which: usize) {
        self.site.serve[which].kill();
        let mut serve = Program::start(&["serve"], &self.site.env);
        self.site.addresses[which] = serve.address();
        self.site.serve[which] = serve;
    }

    /// Kills the gateway `which` in the middle of a transaction. It is held there by somebody who keeps others from writing
    /// into the audit: a cancel has done everything else by then, and an undo has marked its parent.
    async fn kill_gateway_in(&mut self, which: usize, path: &str) {
        let mut psql = Psql::connect(&self.site.db.url);
        psql.sql("BEGIN; LOCK TABLE audit IN SHARE MODE");
        let waiting = "SELECT COUNT(*) FROM pg_locks JOIN pg_database d ON d.oid = database \
                       WHERE NOT granted AND relation = 'audit'::regclass AND d.datname = current_database()";
        let (address, path) = (self.site.addresses[which].clone(), path.to_owned());
        let asks = tokio::task::spawn_blocking(move || {
            // It gives up a lock after two seconds, and is asked again until it is killed.
            while let Some((503, _)) = try_http("POST", &address, &path, "ana", Some(&json!({})), None) {}
        });
        eventually("the transaction waits", 60, async || {
            (self.site.db.number(waiting).await > 0).then_some(())
        })
        .await;
        self.kill_gateway(which);
        psql.sql("COMMIT");
        asks.await.expect("nobody answers");
    }
}

async fn is_as_before(kills: bool) {
    let mut large = Large::start().await;
    // What is there before: some view, some edit, some edit over view, and some that others asked for in vain.
    for (step, first, best) in [(3, 4, "view"), (5, 0, "edit"), (5, 2, "edit")] {
        assert_eq!(large.ended(&large.share(step, first, best, 0))["state"], "completed");
    }
    let before = large.rows().await;
    let grants = large.site.db.number("SELECT COUNT(*) FROM grants").await;

    large.pace(0.5, 20).await;
    let job = large.share(1, 0, "edit", 0);
    large.is_under_way(&job, 4);
    if kills {
        large.kill_workers();
        large.is_under_way(&job, 4);
        large.kill_gateway_in(1, &format!("/api/v1/share-jobs/{job}/cancel")).await;
        assert_eq!(large.job(&job)["finished_at"], Value::Null, "it was not cancelled");
        large.is_under_way(&job, 1);
    }
    let path = format!("/api/v1/share-jobs/{job}/cancel");
    let ended = until("the cancel", 60, || {
        let (status, job) = http("POST", &large.site.addresses[1], &path, "ana", None);
        (status != 503).then(|| {
            assert_eq!((status, &job["state"]), (200, &json!("cancelled")), "{job}");
            job
        })
    });
    let (done, counts) = (ended["done_pairs"].as_i64().expect("a number"), &ended["counts"]);
    assert!((1..large.secrets * large.people).contains(&done), "{done} is in the middle");
    for outcome in ["granted", "upgraded", "unchanged"] {
        assert!(counts[outcome].as_i64() > Some(0), "{outcome} of {counts}");
    }
    let given = large.site.db.number("SELECT COUNT(*) FROM grants").await - grants;
    assert_eq!(counts["granted"].as_i64(), Some(given), "what is counted is there");
    assert_ne!(large.rows().await, before);

    let path = format!("/api/v1/share-jobs/{job}/undo");
    if kills {
        large.kill_gateway_in(0, &path).await;
        assert_eq!(large.job(&job)["undone_by"], Value::Null, "it was not undone");
    }
    large.pace(if kills { 12.0 } else { 0.0 }, 3).await;
    let undo = large.post(0, &path, &json!({}));
    if kills {
        let some = "SELECT COALESCE(SUM(revoked), 0)::bigint FROM lanes WHERE job = (SELECT id FROM jobs WHERE kind = 'undo')";
        eventually("some of it is undone", 60, async || (large.site.db.number(some).await > 0).then_some(()))
            .await;
        assert_eq!(large.job(&undo)["finished_at"], Value::Null, "it is in the middle");
        large.kill_workers();
        large.pace(0.0, 0).await;
        large.kill_gateway(1);
    }
    let undone = large.ended(&undo);
    assert_eq!((&undone["state"], &undone["parent"]), (&json!("completed"), &json!(job)), "{undone}");
    assert_eq!(large.rows().await, before, "row by row");
    let taken = &undone["counts"];
    assert_eq!((&taken["revoked"], &taken["lowered"]), (&counts["granted"], &counts["upgraded"]), "{taken}");
    assert_eq!(large.job(&job)["undone_by"], json!(undo));

    large.site.quiet().await;
    let told = until("the notices", 60, || {
        let (_, notices) = http("GET", &large.site.addresses[1], "/api/v1/notices", "ana", None);
        let all = notices["items"].as_array().expect("items").clone();
        (all.len() == 5).then_some(all)
    });
    let of = |id: &str| told.iter().find(|notice| notice["job_id"] == id).expect("its notice");
    assert_eq!((&of(&job)["state"], &of(&job)["undone_by"]), (&json!("cancelled"), &json!(undo)));
    assert_eq!((&of(&undo)["state"], &of(&undo)["counts"]), (&json!("completed"), taken));
    for (what, sql) in [
        ("open lanes", "SELECT COUNT(*) FROM lanes WHERE open"),
        ("dead letters", "SELECT COUNT(*) FROM dead_letters"),
        ("jobs without one notice", "SELECT 5 - COUNT(DISTINCT job) FROM notices"),
        ("jobs beside these", "SELECT COUNT(*) - 5 FROM jobs"),
    ] {
        assert_eq!(large.site.db.number(sql).await, 0, "{what}");
    }
    let logs: String = large.site.serve.iter().chain(&large.site.work).map(Program::log).collect();
    assert!(!logs.contains("panicked"), "{logs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_the_other_gateway_cancels_and_that_is_undone_leaves_every_row_as_it_was() {
    is_as_before(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_share_cancel_and_undo_a_job_leaves_every_row_as_it_was() {
    is_as_before(true).await;
}

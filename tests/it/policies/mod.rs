//! Policies of RabbitMQ that take away messages which were confirmed: they are found over its management API and told.

mod program;
mod trouble;

use std::time::{Duration, Instant};

use batchshare::broker::management::{Finding, Harm, Look, ManagementError, Policies, Source};
use batchshare::broker::{Broker, Exchange, Queue, Rabbit, RabbitOptions, Topology};
use batchshare::telemetry::metrics::Metrics;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::hostile::raw::{Answer, Properties, RawPublisher};
use crate::support::{server, unique};

/// RabbitMQ's management API, as an operator uses it.
pub(super) struct Operator {
    vhost: String,
}

impl Operator {
    fn of(vhost: &str) -> Self {
        Self { vhost: vhost.to_owned() }
    }

    fn ask(method: &str, parts: &[&str], body: &Value) -> u16 {
        let mut url = server("BATCHSHARE_TEST_MANAGEMENT_URL");
        url.push_str("/api");
        for part in parts {
            url.push_str(&format!("/{}", utf8_percent_encode(part, NON_ALPHANUMERIC)));
        }
        let agent = ureq::Agent::new_with_config(
            ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(Duration::from_secs(20)))
                .build(),
        );
        let request = ureq::http::Request::builder().method(method).uri(url);
        // ureq takes no user out of a URL.
        let request = request.header("Authorization", "Basic Z3Vlc3Q6Z3Vlc3Q=");
        let request = request.header("Content-Type", "application/json").body(body.to_string());
        agent.run(request.expect("a request")).expect("the management API answers").status().as_u16()
    }

    fn add_vhost(&self) {
        assert_eq!(Self::ask("PUT", &["vhosts", &self.vhost], &json!({})), 201);
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        // Whoever makes it has them already.
        assert!([201, 204].contains(&Self::ask("PUT", &["permissions", &self.vhost, "guest"], &all)));
    }

    fn delete_vhost(&self) {
        assert_eq!(Self::ask("DELETE", &["vhosts", &self.vhost], &json!({})), 204);
    }

    /// `resource` is `policies` or `operator-policies`. It applies to queues of exactly this name.
    pub(super) fn set(&self, resource: &str, name: &str, queue: &str, definition: Value) {
        let pattern = format!("^{}$", queue.replace('.', "\\."));
        let body = json!({"pattern": pattern, "definition": definition, "apply-to": "queues", "priority": 7});
        let status = Self::ask("PUT", &[resource, &self.vhost, name], &body);
        assert!([201, 204].contains(&status), "{status}: {resource} {name}");
    }

    pub(super) fn clear(&self, resource: &str, name: &str) {
        assert_eq!(Self::ask("DELETE", &[resource, &self.vhost, name], &json!({})), 204);
    }
}

/// A topology of the test's own, declared in a virtual host.
struct Place {
    operator: Operator,
    topology: Topology,
    url: String,
    broker: Broker,
}

impl Place {
    async fn declared(vhost: &str, prefix: &str) -> Self {
        let encoded = utf8_percent_encode(vhost, NON_ALPHANUMERIC).to_string();
        let amqp = server("BATCHSHARE_TEST_AMQP_URL");
        let url = format!("{}/{encoded}", amqp.rsplit_once('/').expect("a virtual host").0);
        let (operator, topology) = (Operator::of(vhost), Topology { prefix: unique(prefix) });
        if vhost != "/" {
            operator.add_vhost();
        }
        let broker = Broker::new(Rabbit::new(RabbitOptions {
            url: url.clone(),
            topology: topology.clone(),
            heartbeat: 10,
            connect_timeout: Duration::from_secs(20),
            operation_timeout: Duration::from_secs(60),
            name: "policies".to_owned(),
            ca_file: None,
            metrics: Metrics::default(),
        }));
        broker.declare().await.expect("declared");
        Self { operator, topology, url, broker }
    }

    fn queue(&self, queue: Queue) -> String {
        self.topology.queue(queue)
    }

    fn policies(&self) -> Policies {
        policies(&server("BATCHSHARE_TEST_MANAGEMENT_URL"), &self.url, &self.topology)
    }

    fn finding(&self, queue: Queue, source: Source, harms: &[Harm]) -> Finding {
        Finding { queue, queue_name: self.queue(queue), source, harms: harms.to_vec() }
    }

    /// Waits until exactly this is found: RabbitMQ tells of a change some seconds later.
    async fn shows(&self, what: &str, expected: &[Finding]) {
        let policies = self.policies();
        let mut last = policies.look().await;
        let end = Instant::now() + Duration::from_secs(60);
        while !last.as_ref().is_ok_and(|look| look.unknown.is_empty() && look.findings == expected) {
            assert!(Instant::now() < end, "{what}: {last:?}\nin place of {expected:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            last = policies.look().await;
        }
    }
}

fn policies(management: &str, broker: &str, topology: &Topology) -> Policies {
    let url = management.parse().expect("a URL");
    Policies::new(&url, broker, topology.clone(), None).expect("both can be read")
}

fn policy(name: &str) -> Source {
    Source::Policy(name.to_owned())
}

fn operator(name: &str) -> Source {
    Source::Operator(name.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_policy_that_expires_or_drops_is_found_with_its_queue_and_key() {
    let place = Place::declared("/", "policies").await;
    let name = |text: &str| format!("{}-{text}", place.topology.prefix);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(name);
    let set = |resource: &str, name: &str, queue: Queue, definition: Value| {
        place.operator.set(resource, name, &place.queue(queue), definition);
    };
    place.shows("nothing is set", &[]).await;

    set("policies", &a, Queue::Jobs, json!({"message-ttl": 60_000}));
    set("policies", &b, Queue::Steps, json!({"expires": 3_600_000}));
    set("policies", &c, Queue::Notices, json!({"max-length": 5, "overflow": "drop-head"}));
    set("policies", &d, Queue::Dead, json!({"max-length-bytes": 1_000_000}));
    let found = [
        place.finding(Queue::Jobs, policy(&a), &[Harm::MessageTtl(60_000)]),
        place.finding(Queue::Steps, policy(&b), &[Harm::Expires(3_600_000)]),
        place.finding(Queue::Notices, policy(&c), &[Harm::MaxLength(5), Harm::Overflow]),
        place.finding(Queue::Dead, policy(&d), &[Harm::MaxLengthBytes(1_000_000)]),
    ];
    place.shows("policies", &found).await;
    let text = found[0].text();
    assert!(text.contains("message-ttl = 60000") && text.contains("becomes a dead letter"), "{text}");
    assert!(found[3].text().contains("is thrown away"), "{}", found[3].text());

    // An operator's lies over each: alone, beside one that does nothing, and beside one with the same key.
    place.operator.clear("policies", &a);
    set("operator-policies", &a, Queue::Jobs, json!({"message-ttl": 1_000}));
    set("policies", &b, Queue::Steps, json!({"delivery-limit": 200}));
    set("operator-policies", &b, Queue::Steps, json!({"expires": 9_000_000}));
    set("operator-policies", &c, Queue::Notices, json!({"max-length": 4, "message-ttl": 7_000_000}));
    place.operator.clear("policies", &d);
    set("operator-policies", &d, Queue::Dead, json!({"max-length": 10}));
    let laid_over = [
        place.finding(Queue::Jobs, operator(&a), &[Harm::MessageTtl(1_000)]),
        place.finding(Queue::Steps, operator(&b), &[Harm::Expires(9_000_000)]),
        place.finding(Queue::Notices, policy(&c), &[Harm::MaxLength(4), Harm::Overflow]),
        place.finding(Queue::Notices, operator(&c), &[Harm::MessageTtl(7_000_000), Harm::MaxLength(4)]),
        place.finding(Queue::Dead, operator(&d), &[Harm::MaxLength(10)]),
    ];
    place.shows("operator policies", &laid_over).await;

    for (resource, names) in [("policies", &[&b, &c][..]), ("operator-policies", &[&a, &b, &c, &d][..])] {
        names.iter().for_each(|name| place.operator.clear(resource, name));
    }
    place.shows("all are gone", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_does_no_harm_or_is_for_another_queue_is_not_found() {
    let place = Place::declared("/", "harmless").await;
    let prefix = &place.topology.prefix;
    let name = |text: &str| format!("{prefix}-{text}");
    let set = |number: usize, queue: &str, definition: Value| {
        place.operator.set("policies", &name(&number.to_string()), queue, definition);
    };
    // One that is found, last: so what RabbitMQ tells is not older than the others.
    set(1, &place.queue(Queue::Jobs), json!({"max-length": 100}));
    set(2, &place.queue(Queue::Steps), json!({"delivery-limit": 100, "overflow": "reject-publish"}));
    set(3, &place.queue(Queue::Notices), json!({"dead-letter-exchange": "elsewhere"}));
    set(4, &format!("{prefix}.other"), json!({"message-ttl": 1}));
    set(5, &format!("{prefix}xjobs"), json!({"message-ttl": 1}));
    set(6, &place.queue(Queue::Dead), json!({"delivery-limit": 50}));
    let found = place.finding(Queue::Dead, policy(&name("6")), &[Harm::DeliveryLimit(50, 1_000_000_000)]);
    place.shows("only what does harm", &[found]).await;
    (1..=6).for_each(|number| place.operator.clear("policies", &name(&number.to_string())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_with_odd_characters_are_found() {
    let vhost = unique("ö d/d%2f ?#&+'\"");
    let place = Place::declared(&vhost, "a-b_c.D.").await;
    let odd = "p ö/%?#\"\u{7}";
    place.operator.set("policies", odd, &place.queue(Queue::Jobs), json!({"message-ttl": 5_000}));
    place.operator.set("operator-policies", odd, &place.queue(Queue::Jobs), json!({"expires": 900_000}));
    let found = [
        place.finding(Queue::Jobs, policy(odd), &[Harm::MessageTtl(5_000)]),
        place.finding(Queue::Jobs, operator(odd), &[Harm::Expires(900_000)]),
    ];
    place.shows("odd names", &found).await;
    // The same queues in the default virtual host are others, and not there.
    let elsewhere = policies(
        &server("BATCHSHARE_TEST_MANAGEMENT_URL"),
        &server("BATCHSHARE_TEST_AMQP_URL"),
        &place.topology,
    );
    let nothing = Look { findings: Vec::new(), unknown: Queue::ALL.to_vec() };
    assert_eq!(elsewhere.look().await, Ok(nothing));
    place.operator.delete_vhost();
}

/// The user that docs/operations.md tells to make: it may look at queues and not at policies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_only_look_finds_them_too() {
    let place = Place::declared("/", "least").await;
    let name = &place.topology.prefix;
    let user = json!({"password": "look", "tags": "management"});
    assert_eq!(Operator::ask("PUT", &["users", name], &user), 201);
    let url = server("BATCHSHARE_TEST_MANAGEMENT_URL").replace("guest:guest", &format!("{name}:look"));
    let look = async || policies(&url, &place.url, &place.topology).look().await;
    // Without a permission in the virtual host it may not even look.
    assert_eq!(look().await, Err(ManagementError::Refused(401)));
    let none = json!({"configure": "^$", "write": "^$", "read": "^$"});
    assert_eq!(Operator::ask("PUT", &["permissions", "/", name], &none), 201);

    let jobs = place.queue(Queue::Jobs);
    place.operator.set("policies", name, &jobs, json!({"message-ttl": 5_000}));
    place.operator.set("operator-policies", name, &jobs, json!({"expires": 900_000}));
    let [ttl, expires] = [Harm::MessageTtl(5_000), Harm::Expires(900_000)];
    let exact = [
        place.finding(Queue::Jobs, policy(name), &[ttl]),
        place.finding(Queue::Jobs, operator(name), &[expires]),
    ];
    place.shows("to who may see the policies", &exact).await;
    let both = [
        place.finding(Queue::Jobs, policy(name), &[ttl, expires]),
        place.finding(Queue::Jobs, operator(name), &[ttl, expires]),
    ];
    assert_eq!(look().await.map(|look| look.findings), Ok(both.to_vec()));
    place.operator.clear("policies", name);
    place.operator.clear("operator-policies", name);
    assert_eq!(Operator::ask("DELETE", &["users", name], &json!({})), 204);
}

/// The premise: of a policy's overflow and our argument RabbitMQ takes the policy's, and then drops what it had confirmed.
/// A length without an overflow refuses, by our argument, and what was confirmed stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_to_drop_messages_drops_them_and_what_is_not_drops_none() {
    let place = Place::declared("/", "drops").await;
    let name = format!("{}-drops", place.topology.prefix);
    let exchange = place.topology.exchange(Exchange::Jobs);
    let properties = Properties::persistent();
    let publish =
        |publisher: &mut RawPublisher| publisher.publish(&exchange, "job.requested", &properties, b"{}");

    let jobs = place.queue(Queue::Jobs);
    place.operator.set("policies", &name, &jobs, json!({"max-length": 3}));
    let (mut publisher, mut taken) = (RawPublisher::connect(&place.url), 0_u64);
    let refused = crate::process::until("one is refused", 60, || match publish(&mut publisher) {
        Answer::Taken => {
            taken += 1;
            None
        }
        answer => Some(answer),
    });
    assert_eq!((refused, taken >= 3), (Answer::NotTaken, true), "{taken}");
    assert_eq!(place.broker.depth(Queue::Jobs).await, Ok(taken), "each that was confirmed is there");
    place.shows("it is not told", &[]).await;

    place.operator.set("policies", &name, &jobs, json!({"max-length": 3, "overflow": "drop-head"}));
    let harms = [Harm::MaxLength(3), Harm::Overflow];
    place.shows("it is told", &[place.finding(Queue::Jobs, policy(&name), &harms)]).await;
    // Another channel: RabbitMQ goes on refusing on the one that it has refused on, until the queue is shorter.
    let mut publisher = RawPublisher::connect(&place.url);
    for _ in 0..10 {
        assert_eq!(publish(&mut publisher), Answer::Taken);
    }
    assert_eq!(place.broker.depth(Queue::Jobs).await, Ok(3), "ten more were confirmed");
    place.operator.clear("policies", &name);
}

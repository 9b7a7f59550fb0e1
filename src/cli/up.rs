//! `batchshare up`: runs everything in one process, and says what to try.

use std::net::SocketAddr;

use crate::app;
use crate::app::demo;
use crate::app::{Roles, Running};
use crate::cli::{Code, Failure, out};
use crate::config::{AuthMode, Settings};
use crate::store::{SignIn, Store};

pub(super) async fn run(settings: Settings) -> Result<Code, Failure> {
    let demo_mode = settings.auth.mode == AuthMode::Demo;
    let say = |running: &Running| {
        if let Some(listen) = running.gateway {
            tokio::spawn(greet(running.store.clone(), listen, demo_mode));
        }
    };
    app::run(settings, Roles::UP, say).await?;
    Ok(Code::Done)
}

/// Says where to look. It says what to try only on the demo data in demo mode, because only there it works.
async fn greet(store: Store, listen: SocketAddr, demo_mode: bool) {
    let database = store.db().target().to_string();
    let ana = store.sign_in("ana".to_owned()).await;
    let is_demo = demo_mode && matches!(ana, Ok(SignIn::Person(person)) if person.id.get() == demo::ANA);
    let text = if is_demo { welcome(listen, &database) } else { place(listen, &database) };
    // The program goes on where stdout is closed.
    let _ = out::line(text);
}

fn place(listen: SocketAddr, database: &str) -> String {
    format!(
        "batchshare is running: http://{listen} (the page), http://{listen}/api/v1 (the API; see README.md)\n\
         Everything is kept in {database}. Ctrl-C stops it; the next `batchshare up` goes on from there.\n"
    )
}

/// Where to look and what to try next, with `curl` lines that work as printed on the demo data.
/// `database` is printed as it is, so it must not have a password in it.
#[must_use]
pub fn welcome(listen: SocketAddr, database: &str) -> String {
    let (bruno, pagamentos, carla) = (demo::BRUNO, demo::PAGAMENTOS, demo::CARLA);
    let api = format!("http://{listen}/api/v1");
    format!(
        r#"{place}
You are Ana Souza, who may share 1,200 API secrets. To try it from another terminal:

# share all 1,200 with Bruno and the group Pagamentos
curl -sw '\n' '{api}/share-jobs' -H 'Content-Type: application/json' -d '{{"secrets":{{"all":{{}}}},"recipients":[{{"kind":"user","id":{bruno}}},{{"kind":"user_group","id":{pagamentos},"permission":"edit"}}]}}'

# look at the job, and at its notice
curl -sw '\n' '{api}/share-jobs'
curl -sw '\n' '{api}/notices'

# somebody else's view: what Bruno has now
curl -sw '\n' '{api}/secrets?limit=3' -H 'X-Batchshare-User: bruno'

# Carla has no account: the same job says so, and shares with nobody
curl -sw '\n' '{api}/share-jobs' -H 'Content-Type: application/json' -d '{{"secrets":{{"all":{{"search":"stripe"}}}},"recipients":[{{"kind":"user","id":{carla}}}]}}'

# or from the shell, with a progress bar
batchshare share --as ana --tag prod --user bruno --group Pagamentos:edit
"#,
        place = place(listen, database),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::decode_share_data;
    use crate::domain::PrincipalId;

    #[test]
    fn every_body_of_the_welcome_is_a_valid_request() {
        let listen = "127.0.0.1:8080".parse().expect("an address");
        let text = welcome(listen, "sqlite://batchshare.db");
        assert!(text.contains("http://127.0.0.1:8080/api/v1 ") && text.contains("sqlite://batchshare.db"));
        let ana = PrincipalId::new(demo::ANA).expect("an id");
        let bodies: Vec<&str> =
            text.lines().filter_map(|line| line.split_once("-d '")?.1.strip_suffix('\'')).collect();
        assert_eq!(bodies.len(), 2);
        for body in bodies {
            decode_share_data(body.as_bytes(), ana).expect("a request");
        }
    }
}

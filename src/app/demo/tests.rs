use std::collections::{HashMap, HashSet};

use super::*;
use secrecy::ExposeSecret as _;

fn principal(id: i64) -> PrincipalId {
    PrincipalId::new(id).expect("an id")
}

#[derive(Default)]
struct All {
    users: HashMap<i64, User>,
    user_groups: HashMap<i64, UserGroup>,
    personal_groups: HashMap<i64, PersonalGroup>,
    secrets: Vec<Secret>,
}

fn all() -> All {
    let mut all = All::default();
    for line in lines() {
        match line {
            ImportLine::User(user) => assert!(all.users.insert(user.id.get(), user).is_none()),
            ImportLine::UserGroup(group) => {
                assert!(all.user_groups.insert(group.id.get(), group).is_none());
            }
            ImportLine::PersonalGroup(group) => {
                assert!(all.personal_groups.insert(group.id.get(), group).is_none());
            }
            ImportLine::Secret(secret) => all.secrets.push(secret),
        }
    }
    all
}

fn all_different<T: Eq + std::hash::Hash>(items: impl IntoIterator<Item = T>) -> bool {
    let mut seen = HashSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

#[test]
fn there_are_as_many_as_the_texts_say() {
    let all = all();
    assert_eq!(all.users.len(), 60);
    assert_eq!(all.user_groups.len(), 12);
    assert_eq!(all.personal_groups.len(), 7);
    assert_eq!(all.secrets.len(), SECRETS);
}

#[test]
fn ana_may_share_exactly_1200_and_none_of_them_is_disabled() {
    let all = all();
    let ana = &all.users[&ANA];
    assert_eq!((ana.name.as_str(), ana.username.as_str()), ("Ana Souza", "ana"));
    assert!(ana.active && ana.has_account);
    let (hers, others): (Vec<_>, Vec<_>) = all.secrets.iter().partition(|secret| secret.owner == ana.id);
    assert_eq!((hers.len(), others.len()), (ANAS_SECRETS, SECRETS - ANAS_SECRETS));
    assert!(hers.iter().all(|secret| !secret.disabled));
    let disabled = others.iter().filter(|secret| secret.disabled).count();
    assert!((3..20).contains(&disabled), "{disabled} are disabled");
}

#[test]
fn the_colleagues_are_as_the_texts_say() {
    let all = all();
    let person = |id: i64| {
        let user = &all.users[&id];
        (user.username.as_str(), user.active, user.has_account)
    };
    assert_eq!(person(BRUNO), ("bruno", true, true));
    assert_eq!(person(CARLA), ("carla", true, false));
    assert_eq!(person(DAVI), ("davi", false, true));
    assert!(all.users.values().filter(|user| !user.has_account).count() > 3);
    assert!(all.users.values().filter(|user| !user.active).count() > 2);
}

#[test]
fn the_groups_are_as_the_texts_say() {
    let all = all();
    let pagamentos = &all.user_groups[&PAGAMENTOS];
    assert_eq!(pagamentos.name, "Pagamentos");
    assert!(pagamentos.active && pagamentos.members.contains(&principal(BRUNO)));
    let plantao = &all.personal_groups[&PLANTAO];
    assert_eq!((plantao.name.as_str(), plantao.owner), ("Plantão", principal(ANA)));
    assert!(plantao.active && !plantao.members.is_empty() && !plantao.members.contains(&principal(ANA)));
}

#[test]
fn every_reference_is_a_user_and_everything_unique_is() {
    let all = all();
    let groups = all.user_groups.values().map(|group| &group.members);
    let groups = groups.chain(all.personal_groups.values().map(|group| &group.members));
    for members in groups {
        assert!(!members.is_empty() && members.iter().all(|id| all.users.contains_key(&id.get())));
        assert!(members.is_sorted() && all_different(members));
    }
    assert!(all.secrets.iter().all(|secret| all.users.contains_key(&secret.owner.get())));
    assert!(all_different(all.users.values().map(|user| &user.username)));
    assert!(all_different(all.users.values().map(|user| &user.email)));
    assert!(all_different(all.secrets.iter().map(|secret| secret.id)));
    assert!(all_different(all.secrets.iter().map(|secret| secret.identifier.as_deref())));
    assert!(all_different(all.secrets.iter().map(|secret| &secret.name)));
    let mut ids = all.users.keys().chain(all.user_groups.keys()).chain(all.personal_groups.keys());
    assert!(all_different(&mut ids));
}

#[test]
fn addresses_and_values_are_nobodys() {
    for secret in all().secrets {
        let host = secret.url.strip_prefix("https://").and_then(|rest| rest.split('/').next());
        assert!(host.is_some_and(|host| host.ends_with(".example")), "{}", secret.url);
        assert!(secret.url.bytes().all(|byte| byte.is_ascii_graphic()), "{}", secret.url);
        let value = secret.client_secret.expect("each has a value");
        assert!(value.expose_secret().starts_with("demo_"));
        assert!(secret.tags.is_sorted() && all_different(&secret.tags));
    }
}

#[test]
fn the_first_is_the_one_of_the_texts_and_nothing_changes_between_two_runs() {
    let first = all().secrets.remove(0);
    assert_eq!(first.name, "Stripe – pagamentos (produção)");
    assert_eq!(first.url, "https://api.stripe.example/v1/pagamentos");
    let print = || lines().map(|line| format!("{line:?}")).collect::<Vec<_>>();
    assert_eq!(print(), print());
}

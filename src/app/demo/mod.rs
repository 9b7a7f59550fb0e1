//! Demo data: a believable company, always the same. No clock and no randomness: what looks random
//! is arithmetic on the running number.
//!
//! Fixed, because texts and checks rely on it: `ana` owns exactly [`ANAS_SECRETS`] secrets, all
//! enabled, and may share no others; `bruno` has an account, `carla` has none, `davi` is inactive;
//! bruno is in the user group "Pagamentos"; the personal group "Plantão" is ana's, who is not in it.
//! Every address is under `.example`, and every client secret is made up.

mod data;

use secrecy::SecretString;

use crate::app::demo::data::{CATEGORIES, ENVIRONMENTS, Environment, FIRST_NAMES, LAST_NAMES, USER_GROUPS};
use crate::domain::import::{ImportLine, PersonalGroup, Secret, User, UserGroup};
use crate::domain::{PrincipalId, SecretId};

/// Who is signed in at first.
pub const ANA: i64 = 1;
/// A colleague with an account.
pub const BRUNO: i64 = 2;
/// Has no account.
pub const CARLA: i64 = 3;
/// Is inactive.
pub const DAVI: i64 = 4;
/// The user group "Pagamentos".
pub const PAGAMENTOS: i64 = 101;
/// The personal group "Plantão", ana's.
pub const PLANTAO: i64 = 201;

/// Secrets in all, and those that ana may share.
pub const SECRETS: usize = 1_300;
pub const ANAS_SECRETS: usize = 1_200;

/// How every e-mail address of the demo ends, and of no other company.
pub const EMAILS: &str = "@empresa.example";

const USERS: i64 = 60;
const FIRST_SECRET: i64 = 1_001;

/// The ids of its secrets.
#[must_use]
pub fn secret_ids() -> std::ops::RangeInclusive<i64> {
    FIRST_SECRET..=FIRST_SECRET + i64::try_from(SECRETS).unwrap_or(0) - 1
}

/// Everything, in an order in which every reference is known already.
pub fn lines() -> impl Iterator<Item = ImportLine> + Send + 'static {
    users()
        .map(ImportLine::User)
        .chain(user_groups().map(ImportLine::UserGroup))
        .chain(personal_groups().map(ImportLine::PersonalGroup))
        .chain(secrets().map(ImportLine::Secret))
}

fn users() -> impl Iterator<Item = User> {
    (1..=USERS).zip(FIRST_NAMES).filter_map(|(id, first)| {
        let last = if id == ANA { "Souza" } else { LAST_NAMES[pick(id, LAST_NAMES.len())] };
        // The four whom texts name are known by their first name alone.
        let username = if id <= DAVI { slug(first) } else { format!("{}.{}", slug(first), slug(last)) };
        Some(User {
            id: PrincipalId::new(id)?,
            name: format!("{first} {last}"),
            email: format!("{}.{}{EMAILS}", slug(first), slug(last)),
            username,
            active: !matches!(id, DAVI | 19 | 37 | 52),
            has_account: !matches!(id, CARLA | 11 | 24 | 33 | 45 | 58),
        })
    })
}

fn user_groups() -> impl Iterator<Item = UserGroup> {
    (PAGAMENTOS..).zip(USER_GROUPS).filter_map(|(id, (name, active))| {
        let mut members: Vec<i64> = (1..=USERS).filter(|user| (user * 7 + id * 5) % 11 < 2).collect();
        if id == PAGAMENTOS && !members.contains(&BRUNO) {
            members.push(BRUNO);
        }
        members.sort_unstable();
        Some(UserGroup {
            id: PrincipalId::new(id)?,
            name: (*name).to_owned(),
            members: members.into_iter().filter_map(PrincipalId::new).collect(),
            active: *active,
        })
    })
}

fn personal_groups() -> impl Iterator<Item = PersonalGroup> {
    // Name, owner, members, visible to members, active.
    let groups: [(&str, i64, &[i64], bool, bool); 7] = [
        ("Plantão", ANA, &[BRUNO, 6, 9, 14, 22], true, true),
        ("Squad Pix", BRUNO, &[ANA, BRUNO, 7, 13], true, true),
        ("Guardiões das chaves", ANA, &[ANA, 5, 8], false, true),
        ("Fechamento do mês", 12, &[ANA, 12, 16, 20], false, true),
        ("Migração 2024", ANA, &[10, 15], true, false),
        ("Revisores", 21, &[21, 23, 26, 31], true, true),
        ("Café das dez", 30, &[CARLA, DAVI, 30, 41], false, true),
    ];
    (PLANTAO..).zip(groups).filter_map(|(id, (name, owner, members, visible_to_members, active))| {
        Some(PersonalGroup {
            id: PrincipalId::new(id)?,
            name: name.to_owned(),
            owner: PrincipalId::new(owner)?,
            members: members.iter().copied().filter_map(PrincipalId::new).collect(),
            visible_to_members,
            active,
        })
    })
}

fn secrets() -> impl Iterator<Item = Secret> {
    let kinds = CATEGORIES.iter().flat_map(|category| {
        category.services.iter().flat_map(move |service| {
            category.purposes.iter().flat_map(move |purpose| {
                ENVIRONMENTS.iter().map(move |environment| (category.tag, *service, *purpose, environment))
            })
        })
    });
    (0..).zip(kinds).filter_map(|(number, (tag, service, purpose, environment))| {
        secret(number, tag, service, purpose, environment)
    })
}

fn secret(
    number: i64,
    category: &str,
    service: &str,
    purpose: &str,
    environment: &Environment,
) -> Option<Secret> {
    let id = FIRST_SECRET + number;
    let (host, path) = (slug(service), slug(purpose));
    // One in 13 belongs to somebody else: 100 of 1,300.
    let foreign = number % 13 == 12;
    let owner = if foreign { BRUNO + (number / 13 * 3) % (USERS - 1) } else { ANA };
    let mut tags = vec![environment.tag.to_owned(), category.to_owned()];
    for (tag, one_in) in [("crítico", 7), ("rotação-90d", 5), ("legado", 17)] {
        if mixed(number).is_multiple_of(one_in) {
            tags.push(tag.to_owned());
        }
    }
    tags.sort_unstable();
    Some(Secret {
        id: SecretId::new(id)?,
        owner: PrincipalId::new(owner)?,
        name: format!("{service} – {purpose} ({})", environment.name),
        url: format!("https://api.{}{host}.example/v1/{path}", environment.subdomain),
        client_id: format!("ci_{host}_{id}"),
        client_secret: Some(SecretString::from(format!("demo_{:016x}{:016x}", mixed(id), mixed(-id)))),
        identifier: Some(format!("{host}-{path}-{}", environment.tag)),
        method: ["GET", "POST", "POST", "PUT"][pick(number, 4)].to_owned(),
        tags,
        notes: format!("{} Contato: time de {}.", environment.note, USER_GROUPS[pick(id, 11)].0),
        disabled: foreign && number / 13 % 12 == 5,
    })
}

/// A number below `length` that looks random.
fn pick(number: i64, length: usize) -> usize {
    usize::try_from(mixed(number) % length as u64).unwrap_or(0)
}

/// SplitMix64: spreads running numbers over all 64 bits.
fn mixed(number: i64) -> u64 {
    let mut z = number.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A name as it stands in host names: lower case, no accents, hyphens for all else.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'á' | 'à' | 'â' | 'ã' => slug.push('a'),
            'é' | 'ê' => slug.push('e'),
            'í' => slug.push('i'),
            'ó' | 'ô' | 'õ' => slug.push('o'),
            'ú' | 'ü' => slug.push('u'),
            'ç' => slug.push('c'),
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug
}

#[cfg(test)]
mod tests;

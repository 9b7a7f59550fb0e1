//! Finds the people and groups that a person meant by the names, usernames and e-mail addresses that they typed.

use crate::cli::Failure;
use crate::domain::text::{fold, normal};
use crate::domain::{Permission, PrincipalId, PrincipalKind, Recipient};
use crate::store::{Match, Named, Store};

/// How many candidates an error lists.
const CANDIDATES: i64 = 6;

/// A recipient as it was typed: a name, with `:edit` or `:view` behind it or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) name: String,
    pub(super) permission: Option<Permission>,
}

impl std::str::FromStr for Typed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, permission) = match text.rsplit_once(':') {
            Some((name, "edit")) => (name, Some(Permission::Edit)),
            Some((name, "view")) => (name, Some(Permission::View)),
            _ => (text, None),
        };
        match name.trim() {
            "" => Err("a name is missing".to_owned()),
            name => Ok(Self { name: name.to_owned(), permission }),
        }
    }
}

/// The recipients that were meant.
///
/// Unknown and ambiguous names are errors that list the candidates.
pub(super) async fn resolve(
    store: &Store,
    kind: PrincipalKind,
    typed: &[Typed],
    requester: PrincipalId,
    default: Permission,
) -> Result<Vec<Recipient>, Failure> {
    let mut recipients = Vec::with_capacity(typed.len());
    for Typed { name, permission } in typed {
        let id = match one(store, kind, name, Some(requester), Names::Folded).await {
            Ok(found) => found.id,
            Err(failure) => {
                return Err(unknown_permission(store, kind, name, requester).await.unwrap_or(failure));
            }
        };
        recipients.push(Recipient { kind, id, permission: permission.unwrap_or(default) });
    }
    Ok(recipients)
}

/// The failure for a name that nobody has and that has a colon in it. A colon may be part of a name. But if somebody
/// has the name before the colon, then the text behind it was meant as a permission.
async fn unknown_permission(
    store: &Store,
    kind: PrincipalKind,
    name: &str,
    requester: PrincipalId,
) -> Option<Failure> {
    let (before, permission) = name.rsplit_once(':')?;
    one(store, kind, before.trim(), Some(requester), Names::Folded).await.ok()?;
    Some(Failure::usage(format!(
        "the permission \"{permission}\" of {} \"{before}\" is unknown; it may be view or edit",
        noun(kind)
    )))
}

/// How names and e-mail addresses are compared. Usernames are compared exactly everywhere, as at sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Exactly, apart from how accents were composed. This is for the person who acts.
    Exact,
    /// Without case and accents, as a search does.
    Folded,
}

/// The one principal of that name. For users, a username counts more than an e-mail address, and an e-mail address more
/// than a name.
pub(super) async fn one(
    store: &Store,
    kind: PrincipalKind,
    name: &str,
    seen_by: Option<PrincipalId>,
    names: Names,
) -> Result<Named, Failure> {
    let found = store.principals_named(kind, name, Match::Whole, seen_by, 100).await?;
    let same = |text: &str| match names {
        Names::Exact => normal(text) == normal(name),
        Names::Folded => fold(text) == fold(name),
    };
    let by_username = |named: &Named| named.username.as_deref() == Some(name);
    let by_email = |named: &Named| named.email.as_deref().is_some_and(same);
    let by_name = |named: &Named| same(&named.name);
    let ways: [&dyn Fn(&Named) -> bool; 3] = [&by_username, &by_email, &by_name];
    for way in ways {
        let those: Vec<&Named> = found.iter().filter(|named| way(named)).collect();
        match those[..] {
            [] => {}
            [named] => return Ok(named.clone()),
            ref several => {
                return Err(Failure::usage(format!(
                    "{} \"{name}\" is ambiguous; it may be {}",
                    noun(kind),
                    candidates(several.iter().copied()),
                )));
            }
        }
    }
    let near = store.principals_named(kind, name, Match::Words, seen_by, CANDIDATES).await?;
    let hint = if near.is_empty() { String::new() } else { format!("; there is {}", candidates(&near)) };
    Err(Failure::not_found(format!("there is no {} \"{name}\"{hint}", noun(kind))))
}

/// A kind as people call it.
pub(super) fn noun(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "user",
        PrincipalKind::UserGroup => "user group",
        PrincipalKind::PersonalGroup => "personal group",
    }
}

fn candidates<'a>(named: impl IntoIterator<Item = &'a Named>) -> String {
    let all: Vec<String> = named
        .into_iter()
        .map(|named| match &named.username {
            Some(username) => format!("{username} ({})", named.name),
            None => format!("{} (id {})", named.name, named.id),
        })
        .collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_may_follow_the_name() {
        let typed = |text: &str| text.parse::<Typed>().map(|typed| (typed.name, typed.permission));
        assert_eq!(typed("bruno"), Ok(("bruno".to_owned(), None)));
        assert_eq!(typed("Pagamentos:edit"), Ok(("Pagamentos".to_owned(), Some(Permission::Edit))));
        assert_eq!(typed("bruno:view"), Ok(("bruno".to_owned(), Some(Permission::View))));
        assert_eq!(typed("Squad: Pix"), Ok(("Squad: Pix".to_owned(), None)));
        assert!(typed(":edit").is_err() && typed(" ").is_err());
    }
}

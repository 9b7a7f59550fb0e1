//! What a share is asked with: the `data` of a request, the body of HTTP's POST, and the parts that a job's row
//! keeps.

use std::marker::PhantomData;

use serde::de::MapAccess;

use crate::contract::json::invalid::{Invalid, Unread};
use crate::contract::json::kinds::{Flag, Objects, OneOf, Text, id, ids};
use crate::contract::json::read::{Fields, Member, Object, Once, Place, document};
use crate::domain::permission::{Permission, PrincipalKind};
use crate::domain::{AllFilter, PrincipalId, Recipient, SecretId, Selection, ShareRequest, text};

/// Reads the `data` of a request without `requested_by`, as HTTP's POST sends it.
///
/// # Errors
/// That it is no JSON, or the field that is wrong.
pub fn decode_share_data(body: &[u8], requested_by: PrincipalId) -> Result<ShareRequest, Unread> {
    let (selection, recipients) = document::<Share>(body, "")?;
    Ok(ShareRequest::new(requested_by, selection, recipients))
}

#[derive(Default)]
struct Share {
    secrets: Once<Selection>,
    recipients: Once<Vec<Recipient>>,
}

impl<'de> Object<'de> for Share {
    type Read = (Selection, Vec<Recipient>);

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "secrets" => member.read(Fields::<Secrets>(PhantomData), &mut self.secrets),
            "recipients" => member.read(Objects::<RecipientFields>(PhantomData), &mut self.recipients),
            _ => member.unknown(),
        }
    }

    fn whole(self, place: &Place<'_>) -> Result<Self::Read, Invalid> {
        let selection = self.secrets.required(place, "secrets")?;
        if let Selection::All(filter) = &selection {
            within_rules(filter, &place.member("secrets").member("all"))?;
        }
        let recipients = self.recipients.required(place, "recipients")?;
        if recipients.is_empty() {
            return Err(place.member("recipients").invalid("must not be empty"));
        }
        Ok((selection, recipients))
    }
}

/// What is asked for now. A request that is stored may be from before these rules, and is read all the same.
fn within_rules(filter: &AllFilter, place: &Place<'_>) -> Result<(), Invalid> {
    let search = text::search(filter.search.as_deref().unwrap_or_default());
    search.map_err(|error| place.member("search").invalid(error.to_string()))?;
    let tag = text::tag_search(filter.tag.as_deref().unwrap_or_default());
    tag.map_err(|error| place.member("tag").invalid(error.to_string()))
}

/// The `data` of a message: a share, and who asks for it.
#[derive(Default)]
pub(super) struct RequestData {
    requested_by: Once<PrincipalId>,
    share: Share,
}

impl<'de> Object<'de> for RequestData {
    type Read = ShareRequest;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "requested_by" => member.read(id(), &mut self.requested_by),
            _ => self.share.member(name, member),
        }
    }

    fn whole(self, place: &Place<'_>) -> Result<ShareRequest, Invalid> {
        let requested_by = self.requested_by.required(place, "requested_by")?;
        let (selection, recipients) = self.share.whole(place)?;
        Ok(ShareRequest::new(requested_by, selection, recipients))
    }
}

/// `{"ids": […]}` or `{"all": {…}}`.
#[derive(Default)]
pub(super) struct Secrets {
    ids: Once<Vec<SecretId>>,
    all: Once<AllFilter>,
}

impl<'de> Object<'de> for Secrets {
    type Read = Selection;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "ids" => member.read(ids(), &mut self.ids),
            "all" => member.read(Fields::<All>(PhantomData), &mut self.all),
            _ => member.unknown(),
        }
    }

    fn whole(self, place: &Place<'_>) -> Result<Selection, Invalid> {
        match (self.ids.some(), self.all.some()) {
            (Some(_), Some(_)) => Err(place.member("all").invalid("must not come together with ids")),
            (None, None) => Err(place.member("ids").invalid("is missing (or all in its place)")),
            (Some(ids), None) if ids.is_empty() => Err(place.member("ids").invalid("must not be empty")),
            (Some(ids), None) => Ok(Selection::Ids(ids)),
            (None, Some(all)) => Ok(Selection::All(all)),
        }
    }
}

#[derive(Default)]
struct All {
    search: Once<String>,
    tag: Once<String>,
    shared: Once<bool>,
    except: Once<Vec<SecretId>>,
}

impl<'de> Object<'de> for All {
    type Read = AllFilter;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "search" => member.read(Text::Line, &mut self.search),
            "tag" => member.read(Text::Line, &mut self.tag),
            "shared" => member.read(Flag, &mut self.shared),
            "except" => member.read(ids(), &mut self.except),
            _ => member.unknown(),
        }
    }

    fn whole(self, _place: &Place<'_>) -> Result<AllFilter, Invalid> {
        Ok(AllFilter {
            search: self.search.some(),
            tag: self.tag.some(),
            shared: self.shared.some(),
            except: self.except.some().unwrap_or_default(),
        })
    }
}

#[derive(Default)]
struct RecipientFields {
    kind: Once<PrincipalKind>,
    id: Once<PrincipalId>,
    permission: Once<Permission>,
}

const KIND: OneOf<PrincipalKind> = OneOf {
    text: Text::Filled,
    find: PrincipalKind::from_name,
    else_must: "must be user, user_group or personal_group",
};

const PERMISSION: OneOf<Permission> =
    OneOf { text: Text::Line, find: Permission::from_name, else_must: "must be view or edit" };

impl<'de> Object<'de> for RecipientFields {
    type Read = Recipient;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "kind" => member.read(KIND, &mut self.kind),
            "id" => member.read(id(), &mut self.id),
            "permission" => member.read(PERMISSION, &mut self.permission),
            _ => member.unknown(),
        }
    }

    fn whole(self, place: &Place<'_>) -> Result<Recipient, Invalid> {
        let kind = self.kind.required(place, "kind")?;
        let id = self.id.required(place, "id")?;
        Ok(Recipient { kind, id, permission: self.permission.some().unwrap_or_default() })
    }
}

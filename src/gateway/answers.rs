//! Rows of the store as the answers of the contract.

use crate::contract::CountsBody;
use crate::contract::answer;
use crate::contract::answer::Time;
use crate::store::{
    GrantItem, Holder, Notice, Person, RecipientItem, SecretDetail, SecretItem, UndoPreview, UnsharePreview,
};

/// The person who asks. `auth_mode` says how they were signed in.
pub(super) fn me(person: &Person, auth_mode: &'static str) -> answer::Me {
    let Person { id, username, name } = person.clone();
    answer::Me { auth_mode, id, name, username }
}

/// A person whom the demo lets one choose.
pub(super) fn demo_person(person: Person) -> answer::DemoPerson {
    let Person { id, username, name } = person;
    answer::DemoPerson { id, name, username }
}

/// A notice, as the listing and the stream show it.
pub(super) fn notice(notice: Notice) -> answer::Notice {
    answer::Notice {
        counts: CountsBody::of(notice.kind, notice.counts, notice.taken),
        created_at: Time(notice.created_at),
        dismissed_at: notice.dismissed_at.map(Time),
        done_pairs: notice.counts.done() + notice.taken.done(),
        first_recipients: None,
        first_secrets: None,
        id: notice.id,
        job_id: notice.job_id,
        kind: notice.kind,
        note: notice.note,
        pairs: notice.pairs,
        parent: notice.parent,
        reason: notice.reason,
        recipients: notice.recipients,
        rejections_total: notice.rejections_total,
        run: notice.run,
        secrets: notice.secrets,
        state: notice.state,
        undone_by: notice.undone_by,
    }
}

/// What an undo would do.
pub(super) fn undo_preview(preview: UndoPreview) -> answer::UndoPreview {
    let UndoPreview { taken, rejected, values_read, exact } = preview;
    answer::UndoPreview::of(taken, rejected, values_read, exact)
}

/// What an unshare would do.
pub(super) fn unshare_preview(preview: &UnsharePreview) -> answer::UnsharePreview {
    let UnsharePreview { taken, rejected, secrets, recipients, exact } = *preview;
    answer::UnsharePreview::of(taken, rejected, secrets, recipients, exact)
}

/// A secret in a listing.
pub(super) fn secret_item(item: SecretItem) -> answer::SecretItem {
    answer::SecretItem {
        disabled: item.disabled,
        id: item.id,
        identifier: item.identifier,
        name: item.name,
        owner: answer::Owner { id: item.owner, name: item.owner_name, username: item.owner_username },
        permission: item.reach.as_str(),
        shareable: item.reach.share_refusal(item.disabled).is_none(),
        shared: item.shared,
        tags: item.tags,
        url: item.url,
    }
}

/// A secret alone.
pub(super) fn secret(secret: SecretDetail) -> answer::Secret {
    answer::Secret {
        client_id: secret.client_id,
        disabled: secret.disabled,
        has_client_secret: secret.has_client_secret,
        id: secret.id,
        identifier: secret.identifier,
        method: secret.method,
        name: secret.name,
        notes: secret.notes,
        owner: answer::Owner { id: secret.owner, name: secret.owner_name, username: secret.owner_username },
        permission: secret.reach.as_str(),
        shareable: secret.reach.share_refusal(secret.disabled).is_none(),
        shared: secret.shared,
        tags: secret.tags,
        updated_at: Time(secret.updated_at),
        url: secret.url,
    }
}

/// Somebody who has access to a secret.
pub(super) fn grant(grant: GrantItem) -> answer::Grant {
    answer::Grant {
        email: grant.email,
        granted_at: Time(grant.granted_at),
        job_id: grant.job,
        kind: grant.kind,
        name: grant.name,
        permission: grant.permission,
        principal_id: grant.principal,
        username: grant.username,
    }
}

/// A person who has access to a secret.
pub(super) fn holder(holder: Holder) -> answer::Holder {
    let Holder { id, name, username, email, reach } = holder;
    answer::Holder::new(id, name, username, email, reach)
}

/// Somebody with whom secrets can be shared.
pub(super) fn recipient(item: RecipientItem) -> answer::Recipient {
    answer::Recipient {
        eligible: item.reason.is_none(),
        email: item.email,
        id: item.id,
        kind: item.kind,
        name: item.name,
        reason: item.reason,
        username: item.username,
    }
}

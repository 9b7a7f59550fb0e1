//! Messages in binary mode are turned into their structured form as soon as they are taken, so that everything behind
//! knows only one form.

use crate::broker::Delivery;
use crate::consume::Deliveries;
use crate::contract;

/// The same messages, with those in binary mode in their structured form.
pub(super) fn structured(taken: Deliveries, max_bytes: usize) -> Deliveries {
    let form =
        |of: &Delivery| contract::structured(of.content_type.as_deref(), &of.headers, &of.body, max_bytes);
    let forms: Vec<Option<Vec<u8>>> = taken.iter().map(form).collect();
    if forms.iter().all(Option::is_none) {
        return taken;
    }
    let structured = |(delivery, form): (&Delivery, Option<Vec<u8>>)| match form {
        None => delivery.clone(),
        Some(body) => {
            let Delivery { tag, redelivered, routing_key, message_id, user_id, headers, .. } = delivery;
            Delivery {
                tag: *tag,
                redelivered: *redelivered,
                routing_key: routing_key.clone(),
                content_type: Some(contract::CONTENT_TYPE.to_owned()),
                message_id: message_id.clone(),
                user_id: user_id.clone(),
                headers: headers.clone(),
                death: delivery.death.clone(),
                body,
            }
        }
    };
    taken.iter().zip(forms).map(structured).collect()
}

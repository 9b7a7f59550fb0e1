//! What an error of lapin's means to us.

use lapin::ErrorKind;

use crate::broker::error::BrokerError;

/// What an error of lapin's means. Its texts hold the user's name at most, and never the password.
pub(super) fn failed(what: &str, error: &lapin::Error) -> BrokerError {
    let ErrorKind::ProtocolError(told) = error.kind() else {
        return BrokerError::Unavailable(format!("{what}: {error}"));
    };
    let text = format!("{what}: {}", told.get_message());
    match told.get_id() {
        // RabbitMQ says NOT_ALLOWED also while a limit on connections is reached, and that passes.
        530 if text.contains("limit") => BrokerError::Unavailable(text),
        // ACCESS_REFUSED is about a password or a permission; NOT_ALLOWED is about the virtual host.
        403 | 530 => BrokerError::Refused(text),
        _ => BrokerError::Unavailable(text),
    }
}

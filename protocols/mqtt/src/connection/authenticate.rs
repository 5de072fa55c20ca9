//! Enhanced authentication (MQTT 5 §4.12): in the login, and again while the session goes on. What the data mean is the
//! method's; the exchange is the broker's.

use super::login::{LoginContext, Refusal, vhost};
use super::write::Client;
use super::{Closing, Connection};
use crate::codec::{Auth, Authentication, Fault, Packet, Reason, Text, Version, cut, decode};
use bytes::Bytes;
use crossdock_core::{Error, ErrorKind, Identity, LoginExchange, LoginStep};
use crossdock_net::{Entrance, Line};

/// A client that has proved who it is.
pub(super) struct Proved {
    pub identity: Identity,
    /// For CONNACK: the method, and its last word.
    pub last: Option<(Text, Bytes)>,
}

/// A connection whose client may prove again who it is.
pub(super) struct Authenticated {
    pub method: Text,
    pub entrance: Entrance,
    /// While it does.
    pub exchange: Option<Box<dyn LoginExchange>>,
}

/// The exchange between CONNECT and CONNACK.
pub(super) async fn log_in(
    line: &mut Line,
    client: &Client,
    asked: &Authentication,
    context: &LoginContext<'_>,
) -> Result<Result<Proved, Refusal>, Closing> {
    let Authentication { method, data } = asked;
    let Some(mut exchange) = context.broker.begin_login(method.as_str()) else {
        let why = format!("the authentication method '{}' is not supported", method.as_str());
        return Ok(Err(Refusal::new(Reason::BAD_AUTH_METHOD, why)));
    };
    let mut data = data.clone();
    loop {
        let step = match &data {
            Some(data) => {
                let said = (&data[..], vhost(context.broker));
                context.entrance.go_on(context.broker, &mut *exchange, said)
            }
            // It begins with the client.
            None => Ok(LoginStep::Challenge(Bytes::new())),
        };
        match step {
            Ok(LoginStep::Challenge(challenge)) => {
                let mut writer = client.to(&mut line.output);
                writer.auth(Reason::CONTINUE, (method, &challenge));
                data = match next(line, method, context).await? {
                    Ok(data) => Some(data),
                    Err(refusal) => return Ok(Err(refusal)),
                };
            }
            Ok(LoginStep::Done { identity, last }) => {
                return Ok(Ok(Proved { identity, last: Some((method.clone(), last)) }));
            }
            Err(error) => return Ok(Err(Refusal::new(reason(&error), error.detail()))),
        }
    }
}

/// The data of the next AUTH: nothing else may come before CONNACK but DISCONNECT [MQTT-3.1.2-30].
async fn next(
    line: &mut Line,
    method: &Text,
    context: &LoginContext<'_>,
) -> Result<Result<Bytes, Refusal>, Closing> {
    let refused = |fault: Fault| Ok(Err(Refusal::new(fault.reason, fault.what)));
    loop {
        let frame = match cut(line.input.buffer(), context.options.login_bytes_max, true) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                line.more().await?;
                continue;
            }
            Err(fault) => return refused(fault),
        };
        return match decode(frame, Version::V5) {
            Ok(Packet::Auth(Auth { reason: Reason::CONTINUE, authentication }))
                if authentication.method == *method =>
            {
                Ok(Ok(authentication.data.unwrap_or_default()))
            }
            Ok(Packet::Disconnect(_)) => {
                let why = "the client gave its login up";
                Err(Closing::Quiet(Error::new(ErrorKind::Closed, why)))
            }
            // [MQTT-4.12.0-5]: the method stays the same.
            Ok(_) => refused(Fault::protocol("not the next AUTH of the method")),
            Err(fault) => refused(fault),
        };
    }
}

fn reason(error: &Error) -> Reason {
    match error.kind() {
        ErrorKind::Refused => Reason::BAD_CREDENTIALS,
        _ => Reason::SERVER_UNAVAILABLE,
    }
}

impl Connection {
    /// AUTH of a client that is logged in: it proves again who it is (MQTT 5 §4.12.1). Other packets go on meanwhile.
    pub(super) fn authenticate(&mut self, auth: Auth) -> Result<(), Closing> {
        let protocol = |why: &'static str| Err(Closing::refused(Reason::PROTOCOL_ERROR, why));
        let Auth { reason: asked, authentication: Authentication { method, data } } = auth;
        let Some(proved) = self.proved.as_deref_mut() else {
            // [MQTT-4.12.0-6]
            return protocol("AUTH, and CONNECT named no method");
        };
        if proved.method != method {
            return protocol("not the method of CONNECT"); // [MQTT-4.12.1-1]
        }
        let broker = self.session.broker();
        let begun = match (asked, proved.exchange.take()) {
            (Reason::REAUTHENTICATE, None) => broker.begin_login(method.as_str()),
            (Reason::CONTINUE, Some(exchange)) => Some(exchange),
            (Reason::CONTINUE, None) => return protocol("AUTH that goes on with nothing"),
            _ => return protocol("a second authentication before the first has ended"),
        };
        let Some(mut exchange) = begun else {
            let why = "the authentication method is not supported any more";
            return Err(Closing::refused(Reason::BAD_AUTH_METHOD, why));
        };
        let step = match &data {
            Some(data) => proved.entrance.go_on(broker, &mut *exchange, (data, vhost(broker))),
            None => Ok(LoginStep::Challenge(Bytes::new())),
        };
        // [MQTT-4.12.1-2]: whoever fails is closed.
        let denied = |error: Error| {
            let reason = match error.kind() {
                ErrorKind::Refused => Reason::NOT_AUTHORIZED,
                _ => Reason::UNSPECIFIED,
            };
            Closing::refused(reason, error.detail().to_owned())
        };
        let (reason, data) = match step.map_err(denied)? {
            LoginStep::Challenge(challenge) => {
                proved.exchange = Some(exchange);
                (Reason::CONTINUE, challenge)
            }
            LoginStep::Done { identity, last } => {
                self.session.renew_login(&identity).map_err(denied)?;
                (Reason::SUCCESS, last)
            }
        };
        self.client.to(&mut self.line.output).auth(reason, (&method, &data));
        Ok(())
    }
}

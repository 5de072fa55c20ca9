//! One message, as an operator publishes it.

use super::acts::Act;
use super::answer::Refusal;
use super::values;
use super::view::View;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crossdock_core::{
    BodyKind, ConfirmOutcome, Events, Fields, Id, Message, Meta, Properties, Publish, Session,
};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use std::time::Duration;

/// Time for the store to say that it has the message.
const CONFIRM_TIME: Duration = Duration::from_secs(30);

/// A message. One of `body` and `body_base64` at most; neither: it is empty.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishOne {
    vhost: Option<String>,
    /// `queue:NAME`, `topic:a/b` or `exchange:NAME/KEY`.
    address: String,
    body: Option<String>,
    body_base64: Option<String>,
    content_type: Option<String>,
    message_id: Option<String>,
    #[serde(default)]
    headers: Map<String, Json>,
    #[serde(default)]
    transient: bool,
    /// It becomes the retained value of its topic.
    #[serde(default)]
    retain: bool,
    priority: Option<u8>,
    /// Milliseconds.
    ttl_ms: Option<u64>,
}

impl PublishOne {
    fn body(&self) -> Result<Bytes, Refusal> {
        match (&self.body, &self.body_base64) {
            (Some(_), Some(_)) => {
                Err(Refusal::bad("body and body_base64 are the same thing twice"))
            }
            (Some(text), None) => Ok(text.clone().into()),
            (None, Some(text)) => {
                let bytes = STANDARD.decode(text);
                bytes
                    .map(Bytes::from)
                    .map_err(|error| Refusal::bad(format!("body_base64: {error}")))
            }
            (None, None) => Ok(Bytes::new()),
        }
    }

    fn message(&self, view: &View, session: &Session) -> Result<Message, Refusal> {
        let body = self.body()?;
        let headers = values::read_all(&self.headers);
        let headers = headers.map_err(|why| Refusal::bad(format!("headers: {why}")))?;
        let is_text = self.body_base64.is_none() && !body.is_empty();
        let fields = Fields {
            properties: Properties {
                content_type: self.content_type.as_deref().map(Into::into),
                message_id: self.message_id.as_deref().map(|id| Id::Text(id.into())),
                body_kind: if is_text { BodyKind::Text } else { BodyKind::Bytes },
                ..Properties::default()
            },
            headers,
            annotations: Vec::new(),
        };
        let address = view.common.operations.address(&self.address).map_err(Refusal::bad)?;
        let settings = view.broker.live();
        settings.check_topic(address.key.bytes().len(), address.key.separators())?;
        let now = view.broker.now();
        let meta = Meta {
            durable: !self.transient,
            priority: self.priority,
            expires: self.ttl_ms.map(|ms| now.plus(ms)),
            retain: self.retain,
            level: 1,
            ..Meta::new(session.origin().clone(), now)
        };
        let message = Message::from_fields(address, meta, &fields, body);
        let most = settings.message_bytes_max();
        if message.size() > most {
            let why =
                format!("it has {} bytes, more than limits.message_bytes, {most}", message.size());
            return Err(Refusal::bad(why));
        }
        session.check_headers(message.native().bytes.len(), || fields.headers.len())?;
        Ok(message)
    }
}

#[async_trait]
impl Act for PublishOne {
    const WHAT: &'static str = "message published";
    const IN_VHOST: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        (self.vhost.as_deref(), self.address.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let node = view.broker.look_at_node();
        if node.memory.alarm || node.disk.alarm {
            let why = "publishers are held back: see the alarms, and publish when they are over";
            return Err(Refusal::later(why));
        }
        let vhost = view.vhost(self.vhost.as_deref())?;
        let mut session = view.session(&vhost)?;
        let message = self.message(view, &session)?;
        if self.retain && message.address().is_queue() {
            return Err(Refusal::bad("a queue keeps no retained value: a topic does"));
        }
        let lane = session.lane();
        // A retained value is kept whether or not there is a subscriber.
        let mandatory = !self.retain;
        let number = session.publish(lane, Publish { mandatory, ..Publish::new(message, true) });
        session.flush();
        let outcome = tokio::time::timeout(CONFIRM_TIME, confirmed(&mut session, number)).await;
        session.close().await?;
        match outcome {
            Ok(ConfirmOutcome::Stored) => Ok(json!({ "routed": true })),
            Ok(ConfirmOutcome::Unroutable(_)) => {
                Err(Refusal::conflict("no binding led anywhere: nobody has the message"))
            }
            Ok(ConfirmOutcome::Refused(why)) => Err(why.into()),
            Err(_) => {
                let seconds = CONFIRM_TIME.as_secs();
                let why =
                    format!("the store did not say within {seconds} s that it has the message");
                Err(Refusal::later(why))
            }
        }
    }
}

/// What became of that publish.
async fn confirmed(session: &mut Session, number: u64) -> ConfirmOutcome {
    let mut events = Events::default();
    loop {
        session.events(&mut events).await;
        session.flush();
        let found = events.confirms.drain(..).find(|confirm| confirm.number == number);
        if let Some(found) = found {
            return found.confirmed;
        }
    }
}

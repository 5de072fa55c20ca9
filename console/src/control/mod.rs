//! The control API: JSON over HTTP on a socket that only whoever runs the broker can open. `crossdock ctl` speaks it.
//!
//! | file | what is in it |
//! |---|---|
//! | `lists` | what there is: lists, a page at a time, and each object by itself |
//! | `shows` `values` | objects, arguments and headers as JSON |
//! | `status` `arrivals` | the audit, alarms, health, and one screen of everything; who comes |
//! | `losses` | what is known to be lost, and that an operator has seen it |
//! | `acts` | what changes something: `POST /control/ACT`, each a line of the log |
//! | `publish` | one message |
//! | `messages` | looking into a queue, and moving what is in it |
//! | `moves` | the moves that run, and what stops one |
//! | `operations` | what only the program can do |
//! | `view` `answer` | what a request looks at; JSON, or why there is none |
//!
//! `GET` never acts. Whoever is served is an administrator: the listener has checked that.

mod acts;
mod answer;
mod arrivals;
mod lists;
mod losses;
mod messages;
mod moves;
mod operations;
mod publish;
mod remembered;
mod shows;
mod status;
mod values;
mod view;

pub use operations::{
    BackupMade, BackupOrder, CertificateLook, ListenerLook, Operations, Patterns, PluginLook,
    Standing, UserChange,
};

use crate::metrics::Node;
use crate::serve;
use acts::act;
use answer::{Refusal, answer};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use crossdock_core::{Accepted, Actor, Broker};
use lists::{One, Which};
use messages::Peek;
use remembered::Remembered;
use status::Pace;
use std::sync::Arc;
use view::{Common, View};

/// What somebody is answered who is neither the user that the broker runs as, nor root.
pub const NOT_THEIRS: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n\
    Connection: close\r\nContent-Length: 117\r\n\r\n\
    {\"reason\":\"the control socket is for the user that the broker runs as, and for root: use sudo, \
    or become that user\"}\n";

/// The control API of a broker.
#[derive(Clone)]
pub struct Control {
    common: Arc<Common>,
    broker: Broker,
}

impl Control {
    /// For that broker, and the program around it.
    pub fn new(broker: Broker, operations: Arc<dyn Operations>, node: Node) -> Self {
        Self { common: Arc::new(Common::new(operations, node)), broker }
    }

    /// Serves one connection to its end.
    pub async fn serve(self, accepted: Accepted) {
        let actor = Actor { user: accepted.peer.as_str().into(), from: accepted.listener.clone() };
        let Self { common, broker } = self;
        // What ended it is in the log.
        let _ = serve::serve(accepted, router(View { broker, common, actor })).await;
    }
}

fn router(view: View) -> Router {
    Router::new()
        .route("/control/list/{kind}", get(list))
        .route("/control/show/{kind}", get(show))
        .route("/control/audit", get(audit))
        .route("/control/alarms", get(alarms))
        .route("/control/health", get(health))
        .route("/control/status", get(one_screen))
        .route("/control/peek", get(peek))
        .route("/control/route-state", get(route_state))
        .route("/control/move", post(act::<messages::MoveMessages>))
        .route("/control/accept-losses", post(act::<losses::AcceptLosses>))
        .route("/control/drop", post(act::<messages::DropMessages>))
        .route("/control/stop-move", post(act::<moves::StopMove>))
        .route("/control/declare-queue", post(act::<acts::DeclareQueue>))
        .route("/control/declare-exchange", post(act::<acts::DeclareExchange>))
        .route("/control/delete-queue", post(act::<acts::DeleteQueue>))
        .route("/control/delete-session", post(act::<acts::DeleteSession>))
        .route("/control/delete-exchange", post(act::<acts::DeleteExchange>))
        .route("/control/bind", post(act::<acts::Bound<true>>))
        .route("/control/unbind", post(act::<acts::Bound<false>>))
        .route("/control/purge", post(act::<acts::Purge>))
        .route("/control/clear-login-delay", post(act::<arrivals::ClearLoginDelay>))
        .route("/control/close-connection", post(act::<acts::CloseConnection>))
        .route("/control/publish", post(act::<publish::PublishOne>))
        .route("/control/change-user", post(act::<operations::UserChange>))
        .route("/control/drain-route", post(act::<acts::DrainRoute>))
        .route("/control/promote-route", post(act::<acts::PromoteRoute>))
        .route("/control/forget-route-state", post(act::<acts::ForgetRouteState>))
        .route("/control/backup", post(act::<operations::BackupOrder>))
        .route("/control/log-level", post(act::<acts::LogLevel>))
        .route("/control/reload", post(act::<acts::Reload>))
        .route("/control/drain", post(act::<acts::DrainAll>))
        .route("/control/shutdown", post(act::<acts::Shutdown>))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(view)
}

async fn unknown() -> Response {
    let why = "this broker knows no such request: it is of another version than what asks, perhaps";
    Refusal::missing(why).into_response()
}

async fn wrong_method() -> Response {
    Refusal::bad("GET looks, POST acts: this request is the other one").into_response()
}

/// The part of a request behind the question mark.
fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    query.map(|Query(asked)| asked).map_err(|rejection| Refusal::bad(rejection.body_text()))
}

async fn list(
    State(view): State<View>,
    Path(kind): Path<String>,
    query: Result<Query<Which>, QueryRejection>,
) -> Response {
    let which = match asked(query) {
        Ok(which) => which,
        Err(refusal) => return refusal.into_response(),
    };
    answer(view.look(move |view| lists::list(view, &kind, &which)).await)
}

async fn show(
    State(view): State<View>,
    Path(kind): Path<String>,
    query: Result<Query<One>, QueryRejection>,
) -> Response {
    let one = match asked(query) {
        Ok(one) => one,
        Err(refusal) => return refusal.into_response(),
    };
    answer(view.look(move |view| lists::show(view, &kind, &one)).await)
}

/// `where` may stand several times.
async fn peek(
    State(view): State<View>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    match asked(query).and_then(Peek::read) {
        Ok(order) => answer(messages::peek(&view, &order).await),
        Err(refusal) => refusal.into_response(),
    }
}

async fn route_state(
    State(view): State<View>,
    query: Result<Query<Remembered>, QueryRejection>,
) -> Response {
    match asked(query) {
        Ok(which) => answer(view.look(move |view| remembered::page(view, &which)).await),
        Err(refusal) => refusal.into_response(),
    }
}

async fn audit(State(view): State<View>) -> Response {
    answer(view.look(|view| Ok(status::audit(view))).await)
}

async fn alarms(State(view): State<View>) -> Response {
    answer(view.look(|view| Ok(status::alarms(view))).await)
}

async fn health(State(view): State<View>) -> Response {
    answer(view.look(|view| Ok(status::health(view))).await)
}

async fn one_screen(
    State(view): State<View>,
    query: Result<Query<Pace>, QueryRejection>,
) -> Response {
    match asked(query) {
        Ok(pace) => answer(status::status(&view, &pace).await),
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;

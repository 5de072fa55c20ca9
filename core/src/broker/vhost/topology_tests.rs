//! What the topology takes is counted while it is there, and never beyond that.

use super::*;
use crate::auth::Identity;
use crate::broker::accounts::subject::{Subject, Where};
use crate::broker::door::request::SessionLife;
use crate::exchange::Kind;
use crate::message::{Origin, Timestamp, Value};

struct Place {
    budget: Arc<Budget>,
    topology: Topology,
    generations: Generations,
}

fn guest() -> Arc<Subject> {
    let (identity, name) = (Identity::unlimited("guest"), Name::default());
    let place = Where { vhost: &name, topic_exchange: &name, accounts: &Arc::default() };
    Subject::new(&identity, &Origin::default(), place)
}

fn place() -> Place {
    let budget = Arc::new(Budget::new(1 << 30, 1 << 30));
    let topics = ExchangeSpec::new("topics", Kind::Topic);
    let rules = TopicRules::default();
    let topology = Topology::with_predeclared(&[topics], (&"topics".into(), &rules), &budget);
    Place { budget, topology, generations: Generations::new() }
}

impl Place {
    fn kept(&self) -> usize {
        self.budget.used(Account::Kept)
    }

    fn queue(&mut self, id: u64) -> Arc<Queue> {
        let spec = QueueSpec::durable(format!("q{id}"));
        let queue = Queue::new((LogId(id), &"/".into()), spec, None, Timestamp(0));
        self.topology.add_queue(queue.clone(), &self.generations);
        queue
    }

    fn bind(&mut self, source: &str, n: u64, target: Target) -> bool {
        let key = Key::from(&*format!("a/{n}/+/#/{}", n % 5));
        let mut binding = Binding::new(source, key, target);
        binding.arguments = vec![("n".into(), Value::U64(n)), ("x-match".into(), Value::Null)];
        self.topology.bind(binding, &self.generations).expect("both are there")
    }
}

#[test]
fn what_is_taken_away_is_given_back() {
    let mut place = place();
    let before = place.kept();
    assert!(before > 0);
    let session = Named::new(SessionId(9), ("s".into(), guest()), SessionLife::Forever, None);
    let sources = ["topics", "direct", "fanout", "headers"];
    for kind in [Kind::Direct, Kind::Fanout, Kind::Headers] {
        let spec = ExchangeSpec::new(kind.as_str(), kind);
        place.topology.add_exchange(spec.clone(), &place.generations);
        let once = place.kept();
        place.topology.add_exchange(spec, &place.generations);
        assert_eq!(place.kept(), once);
    }
    for _ in 0..2 {
        let queues: Vec<_> = (0..20).map(|id| place.queue(id)).collect();
        place.topology.add_session(session.clone());
        let declared = place.kept();
        for source in sources {
            for n in 0..20 {
                assert!(place.bind(source, n, Target::Log(LogId(n % 10))));
                assert!(place.bind(source, n, Target::Session(session.id)));
                assert!(place.bind(source, n, Target::Exchange("fanout".into())));
            }
        }
        assert_eq!(place.topology.bindings_count(), 240);
        let bound = place.kept();
        assert!(bound > declared + 240 * size_of::<Binding>());
        // Again: nothing is new, and nothing is counted twice.
        assert!(!place.bind("topics", 3, Target::Log(LogId(3))));
        assert_eq!((place.topology.bindings_count(), place.kept()), (240, bound));
        let all = place.topology.bindings_after(None, usize::MAX);
        for binding in all.iter().filter(|b| b.target == Target::Log(LogId(3))) {
            assert!(place.topology.unbind(binding, &place.generations));
            assert!(!place.topology.unbind(binding, &place.generations));
        }
        for queue in queues {
            place.topology.remove_queue(&queue, &place.generations);
        }
        place.topology.remove_session(&session, &place.generations);
        assert_eq!(place.topology.bindings_count(), 80);
        let all = place.topology.bindings_after(None, usize::MAX);
        for binding in all.iter().filter(|b| &*b.source != "headers") {
            assert!(place.topology.unbind(binding, &place.generations));
        }
        assert_eq!(place.topology.bindings_count(), 20);
        // One more is from and to the same exchange.
        place.bind("fanout", 0, Target::Exchange("fanout".into()));
        place.topology.remove_exchange("fanout", &place.generations);
        assert_eq!((place.topology.bindings_count(), place.topology.exchanges_count()), (0, 3));
        let spec = ExchangeSpec::new("fanout", Kind::Fanout);
        place.topology.add_exchange(spec, &place.generations);
    }
    for name in ["direct", "fanout", "headers"] {
        place.topology.remove_exchange(name, &place.generations);
    }
    assert_eq!(place.kept(), before);
    let budget = place.budget.clone();
    drop(place);
    assert_eq!(budget.used(Account::Kept), 0);
}

#[test]
fn slices_show_everything_once() {
    let mut place = place();
    for id in 1..=30 {
        place.queue(id);
        let session = Named::new(
            SessionId(id),
            (format!("s{id}").into(), guest()),
            SessionLife::Forever,
            None,
        );
        place.topology.add_session(session);
        for n in 0..id % 4 {
            place.bind("topics", n, Target::Log(LogId(id)));
            place.bind("topics", n, Target::Session(SessionId(id)));
        }
    }
    let (mut queues, mut sessions, mut bindings) = (Vec::new(), Vec::new(), Vec::new());
    let topology = &place.topology;
    while let slice @ [_, ..] =
        &*topology.queues_after(queues.last().copied().unwrap_or(LogId(0)), 7)
    {
        queues.extend(slice.iter().map(|queue| queue.id));
    }
    while let slice @ [_, ..] =
        &*topology.sessions_after(sessions.last().copied().unwrap_or(SessionId(0)), 7)
    {
        sessions.extend(slice.iter().map(|session| session.id));
    }
    loop {
        let last = bindings.last().map(|binding: &Arc<Binding>| binding.target.clone());
        let slice = topology.bindings_after(last.as_ref(), 7);
        if slice.is_empty() {
            break;
        }
        assert!(slice.len() < 7 + 4);
        bindings.extend(slice);
    }
    assert!(queues.iter().copied().eq((1..=30).map(LogId)));
    assert!(sessions.iter().copied().eq((1..=30).map(SessionId)));
    assert!(bindings.iter().eq(&topology.bindings_after(None, usize::MAX)));
}

/// Whoever looked for the exchange before it was deleted binds nothing to one of its name that is declared later.
#[test]
fn nothing_is_bound_to_an_exchange_that_is_gone() {
    let mut place = place();
    let spec = ExchangeSpec::new("gone", Kind::Fanout);
    place.topology.add_exchange(spec.clone(), &place.generations);
    place.topology.remove_exchange("gone", &place.generations);
    let binding = || Binding::new("topics", "k".into(), Target::Exchange("gone".into()));
    assert_eq!(place.topology.bind(binding(), &place.generations), None);
    place.topology.add_exchange(spec, &place.generations);
    assert!(!place.topology.is_bound(&binding()));
    assert_eq!(place.topology.bind(binding(), &place.generations), Some(true));
}

//! The command lines of `crossdock user` and `crossdock session`.

use crate::Sources;
use clap::{Args, Subcommand};
use crossdock_core::RightsText;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Print all users: where each was made, what it logs in with, its tags and rights.
    List {
        #[command(flatten)]
        sources: Sources,
    },
    /// Make a user, with the password that is read: one line of standard input. It has no rights yet.
    Add {
        /// Its name.
        name: String,
        /// A word for rights over the broker itself, as `administrator`. May be given several times.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Read no password: the user cannot log in by one, but with a certificate.
        #[arg(long)]
        no_password: bool,
        #[command(flatten)]
        sources: Sources,
    },
    /// Give a user the password that is read: one line of standard input.
    SetPassword {
        /// Its name.
        name: String,
        /// The password of until now holds, too, until `forget-previous`.
        #[arg(long)]
        keep_previous: bool,
        #[command(flatten)]
        sources: Sources,
    },
    /// End the time in which two passwords of a user hold: the older one is forgotten.
    ForgetPrevious {
        /// Its name.
        name: String,
        #[command(flatten)]
        sources: Sources,
    },
    /// Delete a user with its rights.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        sources: Sources,
    },
    /// Say what a user may do in a virtual host, instead of what it might until now.
    Rights(RightsOrder),
    /// Make the users of other brokers with their hashes and rights: all of them, or, with any mistake, none.
    Import(ImportOrder),
}

#[derive(Debug, Args)]
pub struct RightsOrder {
    /// The user's name.
    pub name: String,
    /// What it may declare and delete: `queue:orders-*`, `topic:plant/#`, `exchange:events`, `*`. May be given several
    /// times, as the others.
    #[arg(long, value_name = "PATTERN")]
    pub configure: Vec<String>,
    /// Where it may publish to, and bind queues to.
    #[arg(long, value_name = "PATTERN")]
    pub write: Vec<String>,
    /// What it may consume and subscribe to.
    #[arg(long, value_name = "PATTERN")]
    pub read: Vec<String>,
    /// It may not enter the virtual host at all.
    #[arg(
        long,
        conflicts_with_all = ["configure", "write", "read"],
        required_unless_present_any = ["configure", "write", "read"]
    )]
    pub none: bool,
    /// The virtual host.
    #[arg(long, default_value = "/")]
    pub vhost: String,
    #[command(flatten)]
    pub sources: Sources,
}

impl RightsOrder {
    /// The patterns.
    pub fn patterns(&self) -> RightsText {
        let (configure, write, read) =
            (self.configure.clone(), self.write.clone(), self.read.clone());
        RightsText { configure, write, read, ..RightsText::default() }
    }
}

#[derive(Debug, Args)]
pub struct ImportOrder {
    /// A password_file of Mosquitto.
    #[arg(long, value_name = "FILE")]
    pub mosquitto_passwords: Option<PathBuf>,
    /// An acl_file of Mosquitto: for the users of the password_file, and those that are there already.
    #[arg(long, value_name = "FILE")]
    pub mosquitto_acl: Option<PathBuf>,
    /// Definitions of RabbitMQ, as `rabbitmqctl export_definitions` writes them.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mosquitto_passwords", "mosquitto_acl"])]
    pub rabbitmq_definitions: Option<PathBuf>,
    /// The virtual host that rules of Mosquitto are for.
    #[arg(long, default_value = "/")]
    pub vhost: String,
    /// Change nothing: print what would be made, and what would be left out.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub sources: Sources,
}

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Print the sessions that outlive their connections, and whose each is.
    List {
        #[command(flatten)]
        sources: Sources,
    },
    /// Give a session to another user, or all sessions of one user to another.
    Chown(ChownOrder),
}

#[derive(Debug, Args)]
pub struct ChownOrder {
    /// SESSION USER: the session as `session list` prints it (an MQTT client's is `mqtt/` and its identifier), and who
    /// gets it. With --from: USER alone.
    #[arg(value_names = ["SESSION", "USER"], num_args = 1..=2, required = true)]
    pub words: Vec<String>,
    /// All sessions of this user, in every virtual host: `guest` has those from before there were users.
    #[arg(long, value_name = "OLD-USER")]
    pub from: Option<String>,
    /// The virtual host of the session.
    #[arg(long, default_value = "/", conflicts_with = "from")]
    pub vhost: String,
    #[command(flatten)]
    pub sources: Sources,
}

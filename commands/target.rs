//! Where a command goes: to a server, through the socket of a data directory, or into the directory
//! itself with the engine in this process. Whatever it is, the command gets a [`Client`] and works
//! the same.

use std::env::VarError;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use rivvend::client::{Client, ClientError, ClientOptions, Target};
use rivvend::config::{Address, did_you_mean};

use crate::context::{Context, Contexts};
use crate::embedded::{Embedded, OpenFailure};
use crate::failure::{Exit, Failure, Outcome, exit_of};
use crate::interrupt::Interrupt;
use crate::settings::value;

const DEFAULT_SERVER: &str = "localhost:9092";
const SOCKET_NAME: &str = "rivvend.sock";
/// Between two looks at a directory whose broker is still starting.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The flags that say where a command goes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct TargetArgs {
    /// Broker to talk to [default: the context's, else localhost:9092] [env: RIVVEN_SERVER]
    #[arg(long, value_name = "HOST:PORT", value_parser = value::<Address>)]
    #[arg(conflicts_with_all = ["data_dir", "embedded"])]
    server: Option<Address>,
    /// Context that says where to go; see `rivvend context` [env: RIVVEN_CONTEXT]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["server", "data_dir", "embedded"])]
    context: Option<String>,
    /// Work on this data directory: through its broker when one runs, else in this process
    #[arg(short, long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Work on the data directory named by RIVVEN_DATA_DIR
    #[arg(long)]
    embedded: bool,
    /// Longest time to wait for a broker, such as 500ms, 30s or 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = value::<Duration>)]
    pub(crate) timeout: Duration,
}

impl TargetArgs {
    /// The flags of a command that names its places itself.
    pub(crate) fn to(
        server: Option<Address>,
        context: Option<String>,
        data_dir: Option<PathBuf>,
        timeout: Duration,
    ) -> TargetArgs {
        TargetArgs { server, context, data_dir, embedded: false, timeout }
    }
}

impl TargetArgs {
    /// The target of a command that knows the directory by other means.
    pub(crate) fn of_directory(directory: &Path) -> TargetArgs {
        TargetArgs {
            server: None,
            context: None,
            data_dir: Some(directory.to_owned()),
            embedded: false,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Whether a command changes anything. One that only reads opens a directory beside other readers
/// and never creates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Change,
}

impl Intent {
    /// The intent of a command that changes something unless it is a dry run.
    pub(crate) fn of(is_dry_run: bool) -> Intent {
        if is_dry_run { Intent::Read } else { Intent::Change }
    }
}

/// What a command works with.
pub(crate) struct Session {
    /// The broker, whatever it is.
    pub(crate) client: Client,
    /// Whether the command shall stop.
    pub(crate) interrupt: Interrupt,
    /// Whether the broker is the engine in this process.
    pub(crate) is_embedded: bool,
}

/// Connects, runs the command until it ends or is interrupted, and closes what was opened.
pub(crate) fn run(
    target: &TargetArgs,
    intent: Intent,
    work: impl AsyncFnOnce(&Session) -> Outcome,
) -> Outcome {
    run_until_done(target, intent, async |session| {
        let mut interrupt = session.interrupt.clone();
        tokio::select! {
            outcome = work(session) => outcome,
            () = interrupt.wait() => Err(Failure::failed("interrupted")),
        }
    })
}

/// As [`run`], for commands that watch the interrupt themselves.
pub(crate) fn run_until_done(
    target: &TargetArgs,
    intent: Intent,
    work: impl AsyncFnOnce(&Session) -> Outcome,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::failed(format!("can not start threads: {error}")))?;
    let outcome = runtime.block_on(async {
        let failed = |e| Failure::failed(format!("can not listen for signals: {e}"));
        let interrupt = Interrupt::listen().map_err(failed)?;
        let (client, embedded) = connect(target, intent, &interrupt).await?;
        let session = Session { client, interrupt, is_embedded: embedded.is_some() };
        let outcome = work(&session).await;
        drop(session);
        match embedded {
            Some(embedded) => embedded.close().await.and(outcome),
            None => outcome,
        }
    });
    // A thread that waits for standard input must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn connect(
    args: &TargetArgs,
    intent: Intent,
    interrupt: &Interrupt,
) -> Result<(Client, Option<Embedded>), Failure> {
    let options = ClientOptions {
        connect_timeout: args.timeout.min(ClientOptions::default().connect_timeout),
        request_timeout: args.timeout,
        ..ClientOptions::default()
    };
    match place(args)? {
        Place::Directory(directory) => {
            open_directory(&directory, args.timeout, intent, options, interrupt).await
        }
        Place::Server(server) => {
            let client = Client::connect(Target::Tcp(server), options);
            Ok((unless_interrupted(interrupt, client).await??, None))
        }
    }
}

/// Waits for somebody who may never answer, until the command shall stop.
async fn unless_interrupted<T>(
    interrupt: &Interrupt,
    wait: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut interrupt = interrupt.clone();
    tokio::select! {
        done = wait => Ok(done),
        () = interrupt.wait() => Err(Failure::failed("interrupted")),
    }
}

/// Where a command goes.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Server(String),
    Directory(PathBuf),
}

/// The first of: a flag, a variable, the context that is used, the default. Of two variables the
/// one that names a server is the more definite.
fn place(args: &TargetArgs) -> Result<Place, Failure> {
    if let Some(server) = &args.server {
        return Ok(Place::Server(server.to_string()));
    }
    if let Some(directory) = &args.data_dir {
        return Ok(Place::Directory(directory.clone()));
    }
    if args.embedded {
        return match std::env::var_os("RIVVEN_DATA_DIR") {
            Some(directory) => Ok(Place::Directory(directory.into())),
            None => Err(Failure::usage("--embedded needs RIVVEN_DATA_DIR")
                .hint("name the directory with --data-dir DIR")),
        };
    }
    if let Some(name) = &args.context {
        return of_context(Contexts::load()?.get(name)?);
    }
    if let Some(text) = variable("RIVVEN_SERVER")? {
        return match value::<Address>(&text) {
            Ok(address) => Ok(Place::Server(address.to_string())),
            Err(wrong) => Err(Failure::usage(format!("RIVVEN_SERVER: {text:?} {wrong}"))),
        };
    }
    let contexts = Contexts::load()?;
    match variable("RIVVEN_CONTEXT")?.or_else(|| contexts.current.clone()) {
        Some(name) => of_context(contexts.get(&name)?),
        None => Ok(Place::Server(DEFAULT_SERVER.to_owned())),
    }
}

fn of_context(context: &Context) -> Result<Place, Failure> {
    match (&context.server, &context.data_dir) {
        (Some(server), _) => Ok(Place::Server(server.clone())),
        (None, Some(directory)) => Ok(Place::Directory(directory.clone())),
        (None, None) => unreachable!("a context without a place is refused when it is read"),
    }
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Failure::usage(format!("{name} is not UTF-8"))),
    }
}

/// Through the broker that holds the directory, or in-process when none does. A broker that has the
/// lock and no socket yet is starting (or stopping): it is waited for.
async fn open_directory(
    directory: &Path,
    timeout: Duration,
    intent: Intent,
    options: ClientOptions,
    interrupt: &Interrupt,
) -> Result<(Client, Option<Embedded>), Failure> {
    // What can not be looked up says so when it is opened.
    if intent == Intent::Read && matches!(directory.try_exists(), Ok(false)) {
        let message = format!("there is no data directory {}", directory.display());
        return Err(Failure::new(Exit::NotFound, message));
    }
    let until = Instant::now() + timeout;
    loop {
        let socket = Target::Unix(directory.join(SOCKET_NAME));
        let client = Client::connect(socket, options.clone());
        match unless_interrupted(interrupt, client).await? {
            Ok(client) => return Ok((client, None)),
            Err(ClientError::Connect { source, .. }) if is_nobody(source.kind()) => {}
            Err(error) => return Err(error.into()),
        }
        let held = match Embedded::open(directory, intent).await {
            Ok((embedded, stream)) => {
                let client = Client::connect(Target::Connected(stream), options).await?;
                return Ok((client, Some(embedded)));
            }
            Err(OpenFailure::Held(failure)) => failure,
            Err(OpenFailure::Other(failure)) => return Err(failure),
        };
        if Instant::now() + RETRY_PAUSE >= until {
            return Err(held);
        }
        // Not while the directory is being opened: that is over soon, and ends in order.
        unless_interrupted(interrupt, tokio::time::sleep(RETRY_PAUSE)).await?;
    }
}

/// Whether connecting to a socket failed because nobody listens there.
fn is_nobody(kind: std::io::ErrorKind) -> bool {
    matches!(kind, std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

/// Whether connecting to a socket failed because it is somebody else's.
fn is_denied(kind: std::io::ErrorKind) -> bool {
    kind == std::io::ErrorKind::PermissionDenied
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let code = error.code();
        let exit = match &error {
            ClientError::Connect { source, .. } if is_denied(source.kind()) => Exit::Denied,
            ClientError::Connect { .. }
            | ClientError::OtherProtocol { .. }
            | ClientError::Disconnected { .. }
            | ClientError::Timeout { .. }
            | ClientError::Closed => Exit::Unavailable,
            ClientError::AuthenticationRequired { .. } => Exit::Denied,
            ClientError::Server(_) => exit_of(code),
            _ => Exit::Failed,
        };
        let failure = Failure { code, ..Failure::new(exit, error.to_string()) };
        match error {
            ClientError::Connect { source, .. } if is_denied(source.kind()) => {
                failure.hint("run the command as the user who owns the data directory")
            }
            ClientError::Connect { .. } => failure.hint(
                "start a broker with `rivvend serve`, name one with --server HOST:PORT, or work on \
                 a directory with --data-dir DIR",
            ),
            _ => failure,
        }
    }
}

impl From<rivvend::protocol::native::message::Error> for Failure {
    fn from(error: rivvend::protocol::native::message::Error) -> Failure {
        ClientError::server(error).into()
    }
}

/// The failure for a topic that does not exist, with the name that may have been meant.
pub(crate) async fn unknown_topic(client: &Client, name: &str) -> Failure {
    let failure = Failure {
        code: Some(rivvend::protocol::error::ErrorCode::UnknownTopicOrPartition),
        ..Failure::new(Exit::NotFound, format!("topic {name:?} does not exist"))
    };
    let Ok(known) = client.metadata(&[], false).await else { return failure };
    match did_you_mean(name, known.topics.iter().map(|topic| topic.name.as_str())) {
        Some(near) => failure.hint(format!("did you mean {near:?}?")),
        None => failure.hint("`rivvend topic list` shows the topics there are"),
    }
}

//! A server that does nothing but move bytes, in a process of its own as a broker is, so that the
//! two share the machine in the same way. One thread a connection; it ends when its standard input
//! does, so that none outlives the run.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use rivvend::record::layout::{ATTRIBUTES_AT, crc32c};

use super::appender::{Appender, Sync};
use crate::bench::process::Usage;
use crate::bench::stop;

/// What an echo is made of.
pub(super) const ECHO_BYTES: usize = 64;
/// What acknowledges a block.
pub(super) const REPLY_BYTES: usize = 8;
/// Offset and length of what sendfile is asked for.
pub(super) const RANGE_BYTES: usize = 16;

/// What the server does with every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Task {
    /// Return what arrives, a small message at a time.
    Echo,
    /// Throw away what arrives; acknowledge its end.
    Sink,
    /// Send ranges of a file.
    Sendfile,
    /// Append blocks to a file of the connection's own and acknowledge each.
    Append,
}

/// Arguments of the hidden server command.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// What it does
    #[arg(value_enum)]
    task: Task,
    /// The file to send, or the directory to append in
    #[arg(long, default_value = ".")]
    path: PathBuf,
    /// Bytes of a block
    #[arg(long, default_value_t = 1)]
    block: usize,
    /// When a block is on the disk
    #[arg(long, value_enum, default_value_t = Sync::Never)]
    sync: Sync,
    /// Compute the checksum of every block
    #[arg(long)]
    checksum: bool,
    /// Newest bytes of each file that stay in the page cache
    #[arg(long)]
    window: Option<u64>,
}

/// Serves until standard input ends.
pub(crate) fn serve(args: &ServerArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let args = args.clone();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let args = args.clone();
            std::thread::spawn(move || {
                if let Err(error) = stream.and_then(|stream| connection(&args, number, stream)) {
                    eprintln!("raw server: {error}");
                }
            });
        }
    });
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

fn connection(args: &ServerArgs, number: usize, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let served = match args.task {
        Task::Echo => echo(stream),
        Task::Sink => sink(stream, args.block),
        Task::Sendfile => send_ranges(stream, &File::open(&args.path)?),
        Task::Append => append(stream, args, number),
    };
    match served {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        served => served,
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut message = [0; ECHO_BYTES];
    loop {
        stream.read_exact(&mut message)?;
        stream.write_all(&message)?;
    }
}

fn sink(mut stream: TcpStream, block: usize) -> io::Result<()> {
    let mut buffer = vec![0; block];
    while stream.read(&mut buffer)? > 0 {}
    stream.write_all(&[0; REPLY_BYTES])
}

fn append(mut stream: TcpStream, args: &ServerArgs, number: usize) -> io::Result<()> {
    let path = args.path.join(format!("{number}.log"));
    let mut appender = Appender::create(&path, args.sync, args.window)?;
    let mut block = vec![0; args.block];
    loop {
        stream.read_exact(&mut block)?;
        if args.checksum {
            std::hint::black_box(crc32c(&block[ATTRIBUTES_AT..]));
        }
        appender.append(&block)?;
        stream.write_all(&[0; REPLY_BYTES])?;
    }
}

fn send_ranges(mut stream: TcpStream, file: &File) -> io::Result<()> {
    loop {
        let mut range = [0; RANGE_BYTES];
        stream.read_exact(&mut range)?;
        let number = |at: usize| {
            u64::from_be_bytes(range[at..at + 8].try_into().expect("eight of sixteen bytes"))
        };
        stream.write_all(&range[..REPLY_BYTES])?;
        let (mut at, mut left) = (number(0), number(8) as usize);
        while left > 0 {
            let sent = rustix::fs::sendfile(&stream, file, Some(&mut at), left)?;
            if sent == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= sent;
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Closing it ends the server.
    input: Option<ChildStdin>,
    address: SocketAddr,
}

impl Server {
    /// Starts this program again as a server.
    pub(super) fn start(arguments: &[String]) -> anyhow::Result<Server> {
        stop::check()?;
        let program = std::env::current_exe().context("can not find this program's file")?;
        let mut child = Command::new(program)
            .args(["bench", "raw-server"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for this program, which then ends the server.
            .process_group(0)
            .spawn()
            .context("can not start the raw server")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the raw server has an output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().context("the raw server did not start")?;
        Ok(Server { child, input, address })
    }

    /// A connection to it.
    pub(super) fn connect(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// What it has used so far.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.child.id()).context("the raw server is gone")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.input = None;
        // Only fails when it was waited for before, which nobody else does.
        drop(self.child.wait());
    }
}

/// Asks for a range of the file that [`Task::Sendfile`] sends.
pub(super) fn ask(stream: &mut TcpStream, offset: u64, length: u64) -> io::Result<()> {
    let mut range = [0; RANGE_BYTES];
    range[..8].copy_from_slice(&offset.to_be_bytes());
    range[8..].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&range)
}

/// Creates a file of this size whose bytes are all in the page cache.
pub(super) fn create_warm(path: &std::path::Path, size: u64) -> io::Result<()> {
    let file = File::create_new(path)?;
    let piece = vec![b'w'; 1 << 20];
    let mut at = 0;
    while at < size {
        file.write_all_at(&piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

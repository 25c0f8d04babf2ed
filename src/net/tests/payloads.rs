//! Payloads that lie in files.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::net::TcpStream;

use super::*;
use crate::net::listener::bind_tcp;
use crate::net::service::{FileRange, Piece};
use crate::storage::file::FileDisk;
use crate::storage::memory::MemoryDisk;
use crate::storage::{Disk, DiskFile, StorageError, Synced};

const LEN: usize = 5 << 20;

fn content() -> Vec<u8> {
    (0..LEN as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn store(disk: &dyn Disk, directory: &Path) -> Arc<dyn DiskFile> {
    disk.create_dir_all(directory).expect("directory");
    let file = disk.create(&directory.join("segment")).expect("file");
    file.write_at(0, &mut [IoSlice::new(&content())]).expect("written");
    file
}

/// A file that claims never to be in memory.
#[derive(Debug)]
struct Cold(Arc<dyn DiskFile>);

impl DiskFile for Cold {
    fn reserve(&self, len: u64) -> Result<(), StorageError> {
        self.0.reserve(len)
    }

    fn write_at(&self, at: u64, pieces: &mut [IoSlice<'_>]) -> Result<(), StorageError> {
        self.0.write_at(at, pieces)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<usize, StorageError> {
        self.0.read_at(at, into)
    }

    fn sync(&self) -> Result<Synced, StorageError> {
        self.0.sync()
    }

    fn truncate(&self, len: u64) -> Result<(), StorageError> {
        self.0.truncate(len)
    }

    fn len(&self) -> Result<u64, StorageError> {
        self.0.len()
    }

    fn drop_cached(&self, at: u64, len: u64) {
        self.0.drop_cached(at, len);
    }

    fn is_cached(&self, _: u64, _: u64) -> bool {
        false
    }

    fn descriptor(&self) -> Option<Arc<OwnedFd>> {
        self.0.descriptor()
    }
}

fn range(file: &Arc<dyn DiskFile>, at: u64, len: u64) -> Piece {
    Piece::File(FileRange { file: Arc::clone(file), at, len })
}

/// Fetches bytes from memory, two ranges and memory again, and compares every byte.
async fn check<T: AsyncRead + AsyncWrite + Unpin>(
    edge: &Arc<Edge<Fake>>,
    file: &Arc<dyn DiskFile>,
    client: &mut Client<T>,
) {
    let content = content();
    let (big, small) = (vec![1; 5_000], vec![2; 10]);
    *edge.service.pieces.lock().expect("lock") = vec![
        Piece::Memory(big.clone().into()),
        range(file, 1_000, 3_000_000),
        range(file, 7, 1),
        Piece::Memory(small.clone().into()),
        range(file, LEN as u64 - 100, 100),
    ];
    client.request(1, fetch("pieces"), b"").await;
    client.request(2, metadata(), b"").await;
    let expected =
        [&big[..], &content[1_000..3_001_000], &content[7..8], &small[..], &content[LEN - 100..]]
            .concat();
    let frame = client.frame().await;
    assert_eq!(frame.stream, 1);
    assert!(frame.payload == expected, "the payload differs");
    assert_eq!(client.frame().await.stream, 2, "the next frame follows");
}

#[tokio::test]
async fn ranges_arrive_byte_for_byte_from_every_kind_of_file_over_every_kind_of_socket() {
    let directory = tempfile::tempdir().expect("directory");
    let real = store(&FileDisk::default(), directory.path());
    let cold: Arc<dyn DiskFile> = Arc::new(Cold(Arc::clone(&real)));
    let simulated = store(&MemoryDisk::new(), Path::new("/data"));

    let edge = edge();
    let port = bind_tcp("127.0.0.1:0".parse().expect("address")).await.expect("port");
    let address = port.local_addr().expect("address");
    edge.serve_tcp(port);
    for file in [real, cold, simulated] {
        check(&edge, &file, &mut connect(&edge).await).await;
        let mut tcp = Client::over(TcpStream::connect(address).await.expect("connected"));
        tcp.shake_hands().await;
        check(&edge, &file, &mut tcp).await;
    }
}

#[tokio::test]
async fn a_file_that_is_too_short_cuts_the_connection() {
    let directory = tempfile::tempdir().expect("directory");
    let real = store(&FileDisk::default(), directory.path());
    let cold: Arc<dyn DiskFile> = Arc::new(Cold(Arc::clone(&real)));
    let edge = edge();
    for (index, file) in [real, cold].into_iter().enumerate() {
        let mut client = connect(&edge).await;
        *edge.service.pieces.lock().expect("lock") = vec![range(&file, LEN as u64 - 10, 20)];
        client.request(1, fetch("pieces"), b"").await;
        let bytes = client.rest().await;
        assert!(bytes.len() < frame::FRAME_PREFIX_BYTES + 20, "the frame is not completed");
        assert_eq!(rejections(&edge, Reason::Storage), index as u64 + 1);
    }
}

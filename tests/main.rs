//! Black-box tests of the binary, and the rules the source itself must keep.

mod process;
mod tidy;

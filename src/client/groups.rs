//! Consumer groups: one method for each operation.

use std::time::Duration;

use bytes::Bytes;

use super::operations::expect_result;
use super::{Client, ClientError};
use crate::protocol::native::message::{
    CommitOffsets, DeleteGroups, DeleteOffsets, DescribeGroups, FetchOffsets, GroupDescription,
    GroupHeartbeat, GroupListing, GroupOffset, GroupPartitionResult, GroupResult, JoinGroup,
    JoinGroupResult, LeaveGroup, LeftMember, ListGroups, response,
};

impl Client {
    /// Which groups there are, in one of these states if any are named.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn list_groups(&self, states: Vec<String>) -> Result<Vec<GroupListing>, ClientError> {
        Ok(expect_result!(self, ListGroups, self.ask(ListGroups { states }).await?)?.groups)
    }

    /// Everything about these groups.
    ///
    /// # Errors
    /// See [`Client::call`]; what went wrong with a single group is in its description.
    pub async fn describe_groups(
        &self,
        groups: Vec<String>,
    ) -> Result<Vec<GroupDescription>, ClientError> {
        Ok(expect_result!(self, DescribeGroups, self.ask(DescribeGroups { groups }).await?)?.groups)
    }

    /// Deletes groups that have no members, each on its own.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn delete_groups(
        &self,
        delete: DeleteGroups,
    ) -> Result<Vec<GroupResult>, ClientError> {
        Ok(expect_result!(self, DeleteGroups, self.ask(delete).await?)?.groups)
    }

    /// Commits offsets, each on its own.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn commit_offsets(
        &self,
        commit: CommitOffsets,
    ) -> Result<Vec<GroupPartitionResult>, ClientError> {
        Ok(expect_result!(self, CommitOffsets, self.ask(commit).await?)?.partitions)
    }

    /// Which offsets a group has committed.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn fetch_offsets(
        &self,
        fetch: FetchOffsets,
    ) -> Result<Vec<GroupOffset>, ClientError> {
        Ok(expect_result!(self, FetchOffsets, self.ask(fetch).await?)?.offsets)
    }

    /// Removes committed offsets of partitions that no member reads.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn delete_offsets(
        &self,
        delete: DeleteOffsets,
    ) -> Result<Vec<GroupPartitionResult>, ClientError> {
        Ok(expect_result!(self, DeleteOffsets, self.ask(delete).await?)?.partitions)
    }

    /// Joins a group, or joins it again, and waits up to `timeout` for the rebalance to end.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn join_group(
        &self,
        join: JoinGroup,
        timeout: Duration,
    ) -> Result<JoinGroupResult, ClientError> {
        let (result, _) = self.call(join, Bytes::new(), timeout).await?;
        expect_result!(self, JoinGroup, result)
    }

    /// Says that a member is alive.
    ///
    /// # Errors
    /// See [`Client::call`]; `REBALANCE_IN_PROGRESS` means that it has to join again.
    pub async fn group_heartbeat(&self, heartbeat: GroupHeartbeat) -> Result<(), ClientError> {
        expect_result!(self, GroupHeartbeat, self.ask(heartbeat).await?).map(|_| ())
    }

    /// Takes members out of a group, each on its own.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn leave_group(&self, leave: LeaveGroup) -> Result<Vec<LeftMember>, ClientError> {
        Ok(expect_result!(self, LeaveGroup, self.ask(leave).await?)?.members)
    }
}

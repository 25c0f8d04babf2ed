//! The cluster's identity and its nodes.

use uuid::Uuid;

use super::record::{BrokerRegistered, ClusterFormed};
use super::{Image, Outcome, Refusal, Reply};
use crate::machine::Decision;
use crate::types::{BrokerEpoch, NodeId};

pub(super) fn form(image: &Image, cluster_id: String) -> Result<Outcome, Refusal> {
    match image.cluster_id() {
        None => Ok(Decision::one(ClusterFormed { cluster_id }.into(), Reply::Formed)),
        Some(present) if present == cluster_id => Ok(Decision::unchanged(Reply::Formed)),
        Some(present) => {
            Err(Refusal::OtherCluster { present: present.to_owned(), requested: cluster_id })
        }
    }
}

pub(super) fn register(
    image: &Image,
    node: NodeId,
    incarnation: Uuid,
    address: String,
    rack: Option<String>,
) -> Outcome {
    if let Some(present) = image.brokers().get(&node)
        && present.incarnation == incarnation
    {
        return Decision::unchanged(Reply::BrokerRegistered { epoch: present.epoch });
    }
    let epoch = BrokerEpoch(image.broker_epoch().0 + 1);
    let record = BrokerRegistered { node, epoch, incarnation, address, rack };
    Decision::one(record.into(), Reply::BrokerRegistered { epoch })
}

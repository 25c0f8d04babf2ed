//! API 18, ApiVersions. Tells what is served. The one API which a client may ask in a version that
//! the server has never heard of: the answer then is version 0's with an error.

use super::wire::Text;

messages! {
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse;

    /// Asks which APIs are served in which versions; the first request of most clients.
    struct ApiVersionsRequest {
        /// Name of the client library.
        client_software_name: Text => since(3).ignorable(),
        /// Version of the client library.
        client_software_version: Text => since(3).ignorable(),
        /// Cluster that the client means; `None` when it does not say.
        cluster_id: Option<Text> => since(5).nullable(5).ignorable(),
        /// Node that the client means, if it knows it; else -1.
        node_id: i32 = -1 => since(5).ignorable(),
    }

    /// The APIs and features. The header of this one answer never has tagged fields.
    struct ApiVersionsResponse {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode): `UnsupportedVersion` stands at
        /// version 0 in front of the list all the same.
        error_code: i16 => since(0),
        /// The APIs.
        api_keys: Vec<ApiVersionsResponseApi> => since(0),
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(1).ignorable(),
        /// Features that the node supports.
        supported_features: Vec<ApiVersionsResponseSupportedFeature> => since(3).tag(0).ignorable(),
        /// Counts the changes of the finalized features; -1 when it is not known.
        finalized_features_epoch: i64 = -1 => since(3).tag(1).ignorable(),
        /// Features that are in force in the whole cluster.
        finalized_features: Vec<ApiVersionsResponseFinalizedFeature> => since(3).tag(2).ignorable(),
        /// Whether a migration from ZooKeeper may begin; it never may here.
        zk_migration_ready: bool => since(3).tag(3).ignorable(),
    }

    /// One API and its versions.
    struct ApiVersionsResponseApi {
        /// Number of the API.
        api_key: i16 => since(0),
        /// The lowest version.
        min_version: i16 => since(0),
        /// The highest version.
        max_version: i16 => since(0),
    }

    /// A feature that the node supports.
    struct ApiVersionsResponseSupportedFeature {
        /// Name of the feature.
        name: Text => since(3),
        /// The lowest version.
        min_version: i16 => since(3),
        /// The highest version.
        max_version: i16 => since(3),
    }

    /// A feature that is in force.
    struct ApiVersionsResponseFinalizedFeature {
        /// Name of the feature.
        name: Text => since(3),
        /// The highest level in force.
        max_version_level: i16 => since(3),
        /// The lowest level in force.
        min_version_level: i16 => since(3),
    }
}

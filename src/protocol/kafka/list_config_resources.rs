//! API 74, ListConfigResources. Tells which things have a configuration.

use super::wire::Text;

messages! {
    ListConfigResources: ListConfigResourcesRequest => ListConfigResourcesResponse;

    /// Asks which things have a configuration.
    struct ListConfigResourcesRequest {
        /// Kinds of things to list; empty for all that have a configuration.
        resource_types: Vec<i8> => since(1),
    }

    /// The things.
    struct ListConfigResourcesResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// The things that have a configuration.
        config_resources: Vec<ListConfigResourcesResponseResource> => since(0),
    }

    /// One thing that has a configuration.
    struct ListConfigResourcesResponseResource {
        /// Name of the topic or group, or number of the broker.
        resource_name: Text => since(0),
        /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32
        /// group.
        resource_type: i8 = 16 => since(1).ignorable(),
    }
}

//! API 33, AlterConfigs. Replaces configurations; the older of two ways to change them.

use super::wire::Text;

messages! {
    AlterConfigs: AlterConfigsRequest => AlterConfigsResponse;

    /// Replaces the whole configuration of topics, brokers and groups.
    struct AlterConfigsRequest {
        /// What is meant, one by one.
        resources: Vec<AlterConfigsRequestResource> => since(0),
        /// Whether only to check what would happen.
        validate_only: bool => since(0),
    }

    /// One thing whose configuration is replaced.
    struct AlterConfigsRequestResource {
        /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32
        /// group.
        resource_type: i8 => since(0),
        /// Name of the topic or group, or number of the broker.
        resource_name: Text => since(0),
        /// The configuration.
        configs: Vec<AlterConfigsRequestConfig> => since(0),
    }

    /// One key.
    struct AlterConfigsRequestConfig {
        /// Name of the key.
        name: Text => since(0),
        /// The value; `None` for the default.
        value: Option<Text> = Some(Text::new()) => since(0).nullable(0),
    }

    /// What became of each.
    struct AlterConfigsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// One answer for each topic.
        responses: Vec<AlterConfigsResponseResource> => since(0),
    }

    /// What became of one of them.
    struct AlterConfigsResponseResource {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> = Some(Text::new()) => since(0).nullable(0),
        /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32
        /// group.
        resource_type: i8 => since(0),
        /// Name of the topic or group, or number of the broker.
        resource_name: Text => since(0),
    }
}

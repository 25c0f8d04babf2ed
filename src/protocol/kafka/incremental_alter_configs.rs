//! API 44, IncrementalAlterConfigs. Changes single keys of configurations.

use super::wire::Text;

messages! {
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;

    /// Changes keys in the configuration of topics, brokers and groups.
    struct IncrementalAlterConfigsRequest {
        /// What is meant, one by one.
        resources: Vec<IncrementalAlterConfigsRequestResource> => since(0),
        /// Whether only to check what would happen.
        validate_only: bool => since(0),
    }

    /// One thing whose configuration is changed.
    struct IncrementalAlterConfigsRequestResource {
        /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32
        /// group.
        resource_type: i8 => since(0),
        /// Name of the topic or group, or number of the broker.
        resource_name: Text => since(0),
        /// The configuration.
        configs: Vec<IncrementalAlterConfigsRequestConfig> => since(0),
    }

    /// One key and what becomes of it.
    struct IncrementalAlterConfigsRequestConfig {
        /// Name of the key.
        name: Text => since(0),
        /// 0 set, 1 delete, 2 append, 3 subtract.
        config_operation: i8 => since(0),
        /// The value; `None` where it is deleted.
        value: Option<Text> = Some(Text::new()) => since(0).nullable(0),
    }

    /// What became of each.
    struct IncrementalAlterConfigsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// One answer for each topic.
        responses: Vec<IncrementalAlterConfigsResponseResource> => since(0),
    }

    /// What became of one of them.
    struct IncrementalAlterConfigsResponseResource {
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

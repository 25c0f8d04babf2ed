//! API 32, DescribeConfigs. Tells the configuration of topics, brokers and groups.

use super::wire::Text;

messages! {
    DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse;

    /// Asks for the configuration of topics, brokers and groups.
    struct DescribeConfigsRequest {
        /// What is meant, one by one.
        resources: Vec<DescribeConfigsRequestResource> => since(0),
        /// Whether to tell the values that are overridden.
        include_synonyms: bool => since(1),
        /// Whether to tell what each key is for.
        include_documentation: bool => since(3),
    }

    /// One thing whose configuration is asked for.
    struct DescribeConfigsRequestResource {
        /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32
        /// group.
        resource_type: i8 => since(0),
        /// Name of the topic or group, or number of the broker.
        resource_name: Text => since(0),
        /// Keys to tell; `None` for all.
        configuration_keys: Option<Vec<Text>> = Some(Vec::new()) => since(0).nullable(0),
    }

    /// The configuration, and where it comes from.
    struct DescribeConfigsResponse {
        /// How long the client is muted from now on for a quota's sake.
        throttle_time_ms: i32 => since(0),
        /// The answers.
        results: Vec<DescribeConfigsResponseResource> => since(0),
    }

    /// The configuration of one thing.
    struct DescribeConfigsResponseResource {
        /// 0, or the number of an [`ErrorCode`](super::ErrorCode).
        error_code: i16 => since(0),
        /// What went wrong in words, if anything is to be said.
        error_message: Option<Text> = Some(Text::new()) => since(0).nullable(0),
        /// What kind of thing it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32
        /// group.
        resource_type: i8 => since(0),
        /// Name of the topic or group, or number of the broker.
        resource_name: Text => since(0),
        /// The configuration.
        configs: Vec<DescribeConfigsResponseConfig> => since(0),
    }

    /// One key.
    struct DescribeConfigsResponseConfig {
        /// Name of the key.
        name: Text => since(0),
        /// The value; `None` when it is a secret or there is none.
        value: Option<Text> = Some(Text::new()) => since(0).nullable(0),
        /// Whether it can not be changed.
        read_only: bool => since(0),
        /// Where the value comes from, as Kafka numbers it; -1 when it is not known.
        config_source: i8 = -1 => since(1).ignorable(),
        /// Whether the value is a secret; then it is not told.
        is_sensitive: bool => since(0),
        /// Where a value could come from, the strongest first.
        synonyms: Vec<DescribeConfigsResponseSynonym> => since(1).ignorable(),
        /// Type of the value, as Kafka numbers it; 0 when it is not known.
        config_type: i8 => since(3).ignorable(),
        /// What the key is for.
        documentation: Option<Text> = Some(Text::new()) => since(3).nullable(0).ignorable(),
    }

    /// A place that a key's value could come from.
    struct DescribeConfigsResponseSynonym {
        /// Name of the key.
        name: Text => since(1),
        /// The value; `None` when it is a secret or there is none.
        value: Option<Text> = Some(Text::new()) => since(1).nullable(0),
        /// Where the value comes from, as Kafka numbers it.
        source: i8 => since(1),
    }
}

//! The part of etcd's gRPC interface that a queue needs, as its protocol buffers define it
//! (`etcdserverpb/rpc.proto` and `mvccpb/kv.proto` of etcd 3.6). Written by hand: the client crates
//! generate it with `protoc`, which nobody should have to install to check this workspace.

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    pub(super) member_id: u64,
    #[prost(int64, tag = "3")]
    pub(super) revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) limit: i64,
    #[prost(int64, tag = "4")]
    pub(super) revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    pub(super) more: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PutResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeleteRangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
}

/// `Compare`, always for equality: `CompareResult::EQUAL` is 0 and left out.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Compare {
    #[prost(int32, tag = "2")]
    pub(super) target: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) key: Vec<u8>,
    #[prost(oneof = "Revision", tags = "5, 6")]
    pub(super) revision: Option<Revision>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Revision {
    #[prost(int64, tag = "5")]
    Create(i64),
    #[prost(int64, tag = "6")]
    Mod(i64),
}

/// `CompareTarget::CREATE`.
const TARGET_CREATE: i32 = 1;
/// `CompareTarget::MOD`.
const TARGET_MOD: i32 = 2;

impl Compare {
    /// The key does not exist.
    pub(super) fn absent(key: Vec<u8>) -> Self {
        Self { target: TARGET_CREATE, key, revision: Some(Revision::Create(0)) }
    }

    /// The key was last written at this revision.
    pub(super) fn unchanged(key: Vec<u8>, revision: i64) -> Self {
        Self { target: TARGET_MOD, key, revision: Some(Revision::Mod(revision)) }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Operation {
    #[prost(oneof = "Act", tags = "2, 3")]
    pub(super) act: Option<Act>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Act {
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

impl Operation {
    /// Writes a key.
    pub(super) fn put(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { act: Some(Act::Put(PutRequest { key, value })) }
    }

    /// Deletes a key.
    pub(super) fn delete(key: Vec<u8>) -> Self {
        Self { act: Some(Act::Delete(DeleteRangeRequest { key })) }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub(super) success: Vec<Operation>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    #[prost(bool, tag = "2")]
    pub(super) succeeded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) create: Option<WatchCreateRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WatchCreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) start_revision: i64,
    /// `FilterType`: 1 is `NODELETE`.
    #[prost(int32, repeated, tag = "5")]
    pub(super) filters: Vec<i32>,
}

/// `FilterType::NODELETE`.
pub(super) const NO_DELETES: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WatchResponse {
    #[prost(bool, tag = "4")]
    pub(super) canceled: bool,
    #[prost(message, repeated, tag = "11")]
    pub(super) events: Vec<Event>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Event {
    #[prost(message, optional, tag = "2")]
    pub(super) kv: Option<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    pub(super) leader: u64,
    #[prost(uint64, tag = "5")]
    pub(super) raft_index: u64,
}

async fn ready(channel: &Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(grpc)
}

async fn unary<Q, A>(channel: &Channel, path: &'static str, question: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let path = PathAndQuery::from_static(path);
    let codec = ProstCodec::<Q, A>::default();
    let answer = ready(channel).await?.unary(Request::new(question), path, codec).await?;
    Ok(answer.into_inner())
}

/// `KV.Range`, linearizable.
pub(super) async fn range(channel: &Channel, range: RangeRequest) -> Result<RangeResponse, Status> {
    unary(channel, "/etcdserverpb.KV/Range", range).await
}

/// `KV.Put`.
pub(super) async fn put(channel: &Channel, put: PutRequest) -> Result<PutResponse, Status> {
    unary(channel, "/etcdserverpb.KV/Put", put).await
}

/// `KV.Txn`.
pub(super) async fn txn(channel: &Channel, txn: TxnRequest) -> Result<TxnResponse, Status> {
    unary(channel, "/etcdserverpb.KV/Txn", txn).await
}

/// `Maintenance.Status`.
pub(super) async fn status(channel: &Channel) -> Result<StatusResponse, Status> {
    unary(channel, "/etcdserverpb.Maintenance/Status", StatusRequest {}).await
}

/// `Watch.Watch` with one watch in it.
pub(super) async fn watch(
    channel: &Channel,
    create: WatchCreateRequest,
) -> Result<Streaming<WatchResponse>, Status> {
    use futures::StreamExt as _;
    let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
    let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
    // The stream of requests stays open: its end would end the watch.
    let requests = futures::stream::iter([WatchRequest { create: Some(create) }])
        .chain(futures::stream::pending());
    let answers = ready(channel).await?.streaming(Request::new(requests), path, codec).await?;
    Ok(answers.into_inner())
}

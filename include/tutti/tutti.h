/* Tutti: collective communication, C interface.
 *
 * Every function returns a tutti_result_t and never throws, exits or prints (but for the log, TUTTI_LOG). The text of the
 * last error of the calling thread is kept for tutti_last_error(); it names rank, operation, what came and what was
 * expected.
 *
 * Ranks. A communicator joins `size` ranks; each rank holds one handle. A rank is a process (tutti_comm_create, or
 * tutti_mpi.h) or a thread (tutti_comm_create_local). One handle is used by one thread at a time.
 *
 * Order. All ranks of a communicator call the same operations in the same order with the same count, type, operator and
 * root. Where they do not, every rank gets TUTTI_MISMATCH with both sides' values.
 *
 * Errors. TUTTI_INVALID_ARGUMENT and TUTTI_INVALID_USAGE are found before anything was sent: the communicator is unharmed.
 * Any other error of an operation poisons the communicator on all ranks: every later call returns that first error
 * until tutti_comm_destroy.
 *
 * Time. Every wait is bounded: an operation by `timeout_ns` of the configuration (TUTTI_TIMEOUT, 10 minutes), set-up by
 * `setup_timeout_ns` (TUTTI_SETUP_TIMEOUT, 30 seconds). The error names the ranks that were awaited.
 *
 * Fork. A child process must not use its parent's communicators: calls there return TUTTI_INVALID_USAGE.
 */
#ifndef TUTTI_H
#define TUTTI_H

#include <stddef.h>
#include <stdint.h>

#define TUTTI_VERSION_MAJOR 0
#define TUTTI_VERSION_MINOR 1
#define TUTTI_VERSION_PATCH 0

#if defined(__GNUC__)
#define TUTTI_API __attribute__((visibility("default")))
#else
#define TUTTI_API
#endif

/* In C++ an enumeration may hold any int, so that a wrong value reaches the check that reports it. */
#ifdef __cplusplus
#define TUTTI_ENUM_TYPE : int
#else
#define TUTTI_ENUM_TYPE
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tutti_result TUTTI_ENUM_TYPE {
  TUTTI_SUCCESS = 0,
  TUTTI_IN_PROGRESS = 1,      /* not an error: the operation has not completed yet */
  TUTTI_INVALID_ARGUMENT = 2, /* an argument is wrong; the communicator is unharmed */
  TUTTI_INVALID_USAGE = 3,    /* the call does not fit the object's state; the communicator is unharmed */
  TUTTI_MISMATCH = 4,         /* ranks called different operations, or are configured differently */
  TUTTI_TIMEOUT = 5,          /* a deadline passed while waiting for a peer */
  TUTTI_PEER_LOST = 6,        /* a peer's process ended, or it destroyed its communicator */
  TUTTI_ABORTED = 7,          /* tutti_comm_abort was called on some rank */
  TUTTI_SYSTEM_ERROR = 8,     /* the operating system refused something */
  TUTTI_UNSUPPORTED = 9,      /* not available in this build or on this machine */
  TUTTI_INTERNAL_ERROR = 10   /* a defect of Tutti */
} tutti_result_t;

typedef enum tutti_datatype TUTTI_ENUM_TYPE {
  TUTTI_INT8 = 0,
  TUTTI_UINT8 = 1,
  TUTTI_INT16 = 2,
  TUTTI_UINT16 = 3,
  TUTTI_INT32 = 4,
  TUTTI_UINT32 = 5,
  TUTTI_INT64 = 6,
  TUTTI_UINT64 = 7,
  TUTTI_FLOAT16 = 8,
  TUTTI_BFLOAT16 = 9,
  TUTTI_FLOAT32 = 10,
  TUTTI_FLOAT64 = 11,
  TUTTI_FLOAT8_E4M3 = 12, /* the format without infinities ("fn"): largest 448 */
  TUTTI_FLOAT8_E5M2 = 13  /* largest 57344 */
} tutti_datatype_t;

/* TUTTI_AVG divides the sum by the number of ranks; integers truncate toward zero. min and max propagate NaN and order
 * -0 < +0. float16, bfloat16 and the float8 formats are folded in float32 within one reduction step and rounded to nearest even. A
 * float8 result beyond the largest finite number, infinity included, is that number with its sign. */
typedef enum tutti_op TUTTI_ENUM_TYPE {
  TUTTI_SUM = 0,
  TUTTI_PROD = 1,
  TUTTI_MIN = 2,
  TUTTI_MAX = 3,
  TUTTI_AVG = 4
} tutti_op_t;

typedef struct tutti_comm* tutti_comm_t;
typedef struct tutti_request* tutti_request_t;

/* Names one communicator that is about to be made. Opaque; copy it to all ranks by any means. */
typedef struct tutti_unique_id {
  unsigned char bytes[128];
} tutti_unique_id_t;

/* Settings of one communicator. Always start from TUTTI_COMM_CONFIG_INIT: it sets struct_size, by which the library knows
 * which fields its caller knows. A field left at 0 or NULL means the environment variable named, or its default. */
typedef struct tutti_comm_config {
  size_t struct_size;
  int64_t timeout_ns;       /* limit of one operation; TUTTI_TIMEOUT */
  int64_t setup_timeout_ns; /* limit of creating the communicator; TUTTI_SETUP_TIMEOUT */
  const char* algorithm;    /* "ring", or "all_reduce=ring,broadcast=chain"; equal on all ranks; TUTTI_ALGO */
  int device; /* CUDA device of this rank: its number, TUTTI_DEVICE_AUTO or TUTTI_DEVICE_NONE; TUTTI_DEVICE */
  const int* devices; /* tutti_comm_create_local: the same by rank, `size` of them; NULL: `device` for all */
} tutti_comm_config_t;

/* The current CUDA device of the calling thread, if this process uses CUDA already; else none. */
#define TUTTI_DEVICE_AUTO (-1)
/* Host memory only. */
#define TUTTI_DEVICE_NONE (-2)

/* clang-format off */
#define TUTTI_COMM_CONFIG_INIT { sizeof(tutti_comm_config_t), 0, 0, NULL, TUTTI_DEVICE_AUTO, NULL }
/* clang-format on */

/* A CUDA stream (cudaStream_t, CUstream); NULL is the legacy default stream. Looked at for operations on device memory only. */
typedef void* tutti_stream_t;

/* ---- Set-up ---------------------------------------------------------------------------------------------------- */

/* major * 10000 + minor * 100 + patch of the library that was loaded. */
TUTTI_API int tutti_version(void);

/* A new unique id; thread-safe. Called by one process, which gives it to all ranks: by the one that will be rank 0, or by one on the
 * same host. It names an address of this host (TUTTI_IFNAME, TUTTI_PORT_RANGE), at which rank 0 will listen, and holds the secret by
 * which ranks know each other. */
TUTTI_API tutti_result_t tutti_unique_id_create(tutti_unique_id_t* id);

/* Joins the communicator named by `id` as rank `rank` of `size`, 1 <= size <= 65535, at most 1024 of them on one node. Blocks until all
 * ranks have joined. `config` may be NULL. */
TUTTI_API tutti_result_t tutti_comm_create(tutti_comm_t* comm, const tutti_unique_id_t* id, int rank,
                                           int size, const tutti_comm_config_t* config);

/* The same with rank, size and id from whoever started this process: TUTTI_RANK, TUTTI_SIZE and TUTTI_UNIQUE_ID, or the variables of
 * torchrun, or PMIx (mpirun, srun). Each call joins one more communicator, in the same order on all ranks. */
TUTTI_API tutti_result_t tutti_comm_create_env(tutti_comm_t* comm, const tutti_comm_config_t* config);

/* Makes all `size` ranks of a communicator inside this process: comms[r] is the handle of rank r, to be used by a thread
 * of its own; 1 <= size <= 1024. */
TUTTI_API tutti_result_t tutti_comm_create_local(tutti_comm_t* comms, int size,
                                                 const tutti_comm_config_t* config);

/* Releases this rank's handle. Requests that are not complete are abandoned, which the other ranks see as TUTTI_PEER_LOST. It waits for this
 * rank's operations on device memory, and between nodes up to 5 seconds for the others to leave too, because what was sent last may still be on
 * its way; else it does not wait. NULL is allowed. A handle must not be used afterwards; a call that does so all the same returns
 * TUTTI_INVALID_USAGE. */
TUTTI_API tutti_result_t tutti_comm_destroy(tutti_comm_t comm);

/* Ends all operations on all ranks with TUTTI_ABORTED. May be called from any thread. */
TUTTI_API tutti_result_t tutti_comm_abort(tutti_comm_t comm);

/* TUTTI_SUCCESS while the communicator is usable, else the error that poisoned it (text in tutti_last_error). */
TUTTI_API tutti_result_t tutti_comm_query(tutti_comm_t comm);

TUTTI_API tutti_result_t tutti_comm_rank(tutti_comm_t comm, int* rank);
TUTTI_API tutti_result_t tutti_comm_size(tutti_comm_t comm, int* size);

/* On how many nodes the ranks are: ranks of one node share memory. */
TUTTI_API tutti_result_t tutti_comm_node_count(tutti_comm_t comm, int* nodes);

/* The CUDA device of this rank, or TUTTI_DEVICE_NONE. */
TUTTI_API tutti_result_t tutti_comm_device(tutti_comm_t comm, int* device);

/* Who is where, how each peer is reached, how much went there and how long this rank waited for it: text for people, written as by
 * tutti_describe. Not while another thread uses the communicator. */
TUTTI_API tutti_result_t tutti_comm_describe(tutti_comm_t comm, char* text, size_t size, size_t* needed);

/* How long operations on host memory took on this rank, how much of that was waiting for late ranks, and who was late; and what went over each
 * RDMA device: docs/statistics.md.
 * Text in the format "json" or "prometheus", written as by tutti_describe. From any thread, also while another one
 * uses the communicator, but not while one destroys it. Rank 0 of several nodes has figures of the whole job, and waits up to 100 ms for what
 * the other nodes have to say. The text may be longer at the next call. TUTTI_UNSUPPORTED where the library was built without statistics. */
TUTTI_API tutti_result_t tutti_comm_stats(tutti_comm_t comm, const char* format, char* text, size_t size,
                                          size_t* needed);

/* ---- Collectives ------------------------------------------------------------------------------------------------
 *
 * Buffers hold `count` elements of `datatype`, 0 <= count; they need no alignment and may be NULL only when count is 0.
 * `send` and `recv` are the same buffer (in place) or do not overlap. The blocking functions return when this rank's
 * result is there and its buffers may be reused; other ranks may still be working.
 *
 * Device memory. Where a communicator has a device, buffers may be in device memory (from cudaMalloc, cuMemCreate, managed, a framework's;
 * of this rank's device or one that it can reach): then the call enqueues the operation on `stream` and returns; the buffers may be
 * used by what follows on that stream. The calls may be captured into CUDA graphs, and replayed any number of times, mixed with other calls.
 * Pinned host memory goes to the device where a stream is given, else it is host memory. All ranks must use the same kind of memory in the
 * same operation, and operations on device memory are one sequence, those on host memory another. An operation of no bytes is on
 * the device where its stream is not NULL. Errors of kernels (deadline, mismatch, abort) are found by the next call on the communicator or
 * by tutti_comm_query; what follows on the stream has run all the same, on undefined data.
 * Operations of several ranks of one process must be on different streams, or in one group (tutti_group_start). */

/* recv[i] on every rank = fold over all ranks r of send_r[i]. All ranks get bitwise the same result. */
TUTTI_API tutti_result_t tutti_all_reduce(const void* send, void* recv, int64_t count,
                                          tutti_datatype_t datatype, tutti_op_t op, tutti_comm_t comm,
                                          tutti_stream_t stream);

/* recv on every rank = send of rank `root`. `send` is looked at on the root only and may be NULL elsewhere. */
TUTTI_API tutti_result_t tutti_broadcast(const void* send, void* recv, int64_t count,
                                         tutti_datatype_t datatype, int root, tutti_comm_t comm,
                                         tutti_stream_t stream);

/* Returns when all ranks have called it; with a stream, enqueues that. */
TUTTI_API tutti_result_t tutti_barrier(tutti_comm_t comm, tutti_stream_t stream);

/* The same, without waiting: the operation runs inside calls of tutti_request_test and tutti_request_wait on any request
 * of this communicator, and inside its later collectives; operations of a communicator run in the order of their calls.
 * Up to 64 may be outstanding; one more waits for the oldest. Buffers must stay untouched until the request completes.
 * For host memory; operations on device memory never wait, and are refused here with TUTTI_INVALID_USAGE. */
TUTTI_API tutti_result_t tutti_all_reduce_async(const void* send, void* recv, int64_t count,
                                                tutti_datatype_t datatype, tutti_op_t op, tutti_comm_t comm,
                                                tutti_stream_t stream, tutti_request_t* request);
TUTTI_API tutti_result_t tutti_broadcast_async(const void* send, void* recv, int64_t count,
                                               tutti_datatype_t datatype, int root, tutti_comm_t comm,
                                               tutti_stream_t stream, tutti_request_t* request);
TUTTI_API tutti_result_t tutti_barrier_async(tutti_comm_t comm, tutti_stream_t stream,
                                             tutti_request_t* request);

/* Makes progress without blocking. Returns TUTTI_SUCCESS and frees the request (sets it to NULL) when the operation is
 * complete, TUTTI_IN_PROGRESS when it is not, or its error (and frees the request). A NULL request is complete. */
TUTTI_API tutti_result_t tutti_request_test(tutti_request_t* request);

/* The same, but waits up to `limit_ns` nanoseconds; a negative limit means as long as the operation's own limit. Returns
 * TUTTI_IN_PROGRESS when the limit passed first: the request stays valid and the communicator usable. */
TUTTI_API tutti_result_t tutti_request_wait(tutti_request_t* request, int64_t limit_ns);

/* ---- Groups -----------------------------------------------------------------------------------------------------
 *
 * Calls of this thread between tutti_group_start and tutti_group_end are collected, checked at once, and begun together at the
 * end, so that one thread can be several ranks of a communicator. Ranks on one device are then one launch, whose blocks run at the same time
 * for certain. Calls on host memory are complete when tutti_group_end returns; those on device memory are enqueued. Groups nest: the outermost end
 * counts. tutti_group_end returns the first error of any call; a call that is refused when it is made is not part of the group. */
TUTTI_API tutti_result_t tutti_group_start(void);
TUTTI_API tutti_result_t tutti_group_end(void);

/* ---- Device memory ---------------------------------------------------------------------------------------------- */

/* Memory of the CUDA device `device`, which other processes can map: for
 * tutti_register, and for programs without the CUDA run-time library.
 * Waits for the device where CUDA does. `bytes` > 0. */
TUTTI_API tutti_result_t tutti_mem_alloc(void** memory, size_t bytes, int device);
/* NULL is allowed. No operation may use it any more. */
TUTTI_API tutti_result_t tutti_mem_free(void* memory);

/* Registers a buffer of this rank, so that ranks which are other processes can work on it in place, or RDMA devices send it without a copy.
 * Collective: all ranks call it, each with a buffer and size of its own, and at least as often as any other; tutti_deregister likewise, in the
 * same order. Where there are devices it returns when all have.
 *
 * A call on device memory whose buffers all are registered (any part of them; the send buffer counts where it is looked at) needs no copies
 * to and from scratch. So the choice must be the same everywhere: a call in registered buffers on one rank and in others on another is
 * TUTTI_MISMATCH. Memory that some rank cannot share (of cudaMallocAsync pools, host memory, size 0) is no error: then none of that
 * registration is used in place, and tutti_comm_describe says why. Inside one process device memory is used in place always, between nodes never:
 * there registering it changes nothing.
 *
 * Host memory that is registered is sent to other nodes by the transport verbs as it lies (slices from 16 KiB on; operations send from the receive
 * buffer as well as from the send buffer). Memory that a device refuses (the limit of locked memory) is no error: it is copied, with a
 * warning. On its other ways registering host memory changes nothing.
 *
 * The buffer must not be freed, nor unmapped, before tutti_deregister has returned, or the communicator was destroyed by all ranks; a call on
 * memory that was freed and allocated again at the same address is refused. Graphs that were captured on registered buffers may run while they are.
 * Both wait for this rank's operations on the device. Not in a group, nor while a stream is being captured, nor while another thread uses the
 * communicator. Errors: TUTTI_TIMEOUT after the limit for set-up, naming who did not come; TUTTI_UNSUPPORTED for more than 1024 at a time;
 * TUTTI_INVALID_USAGE where ranks do not register and deregister in the same order. */
typedef struct tutti_registration* tutti_registration_t;
TUTTI_API tutti_result_t tutti_register(tutti_comm_t comm, void* buffer, size_t bytes,
                                        tutti_registration_t* registration);
TUTTI_API tutti_result_t tutti_deregister(tutti_comm_t comm, tutti_registration_t registration);

/* ---- Errors and names ------------------------------------------------------------------------------------------- */

/* Text of the last error a call of this thread returned; "" when there was none. Valid until the thread's next call. */
TUTTI_API const char* tutti_last_error(void);

/* Static texts; "unknown" for values that are none. */
TUTTI_API const char* tutti_result_name(tutti_result_t result);
TUTTI_API const char* tutti_datatype_name(tutti_datatype_t datatype);
TUTTI_API const char* tutti_op_name(tutti_op_t op);

/* Bytes of one element; 0 for a value that is no data type. */
TUTTI_API size_t tutti_datatype_size(tutti_datatype_t datatype);

/* The algorithm that an operation of that size would use on this communicator: "one_shot", "ring", ... `collective` is
 * "all_reduce", "broadcast" or "barrier". NULL when an argument is wrong. */
TUTTI_API const char* tutti_algorithm_name(tutti_comm_t comm, const char* collective, int64_t count,
                                           tutti_datatype_t datatype);

/* The same for operations on device memory; NULL also where the communicator has no device. */
TUTTI_API const char* tutti_device_algorithm_name(tutti_comm_t comm, const char* collective, int64_t count,
                                                  tutti_datatype_t datatype);

/* What tutti-info prints: the machine, the transports and why others are not usable, every variable, the selection table
 * for `ranks` ranks on one node. Text in the format "text", "json", "graphviz" (the topology) or "environment-markdown". Writes at most `size` bytes including
 * the final 0 and returns in *needed (may be NULL) how many a complete answer takes. */
TUTTI_API tutti_result_t tutti_describe(const char* format, int ranks, char* text, size_t size,
                                        size_t* needed);

/* The same for ranks on several nodes: ranks_of_nodes[i] of them on node i. */
TUTTI_API tutti_result_t tutti_describe_nodes(const char* format, const int* ranks_of_nodes, int nodes,
                                              char* text, size_t size, size_t* needed);

#ifdef __cplusplus
}
#endif

#endif /* TUTTI_H */

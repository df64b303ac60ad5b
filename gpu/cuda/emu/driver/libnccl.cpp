// What stands in for NCCL between processes of one machine: the functions of libnccl that stepflow calls, on host memory,
// through a file of shared memory. It is as strict as NCCL's manual, and where NCCL waits for ever it does too, for a
// minute or so: a rank that is gone is not noticed unless STAND_IN_NOTICES is set, as NCCL notices by sockets but not by
// shared memory. Built by nccl.sh, for tests.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

// ncclResult_t.
enum { OK = 0, SYSTEM = 2, ARGUMENT = 4, USAGE = 5, REMOTE = 6 };

static const int MOST = 16;        // ranks
static const uint64_t ROOM = 1 << 16; // bytes on their way from a rank to another
static const double PATIENCE = 60; // seconds, where NCCL would wait for ever

struct ncclUniqueId {
  char internal[128];
};

// Channel is a ring of bytes that one rank writes and another reads.
struct Channel {
  std::atomic<uint64_t> head, tail; // bytes written and read in all
  unsigned char data[ROOM];
};

struct Shared {
  std::atomic<int> joined, left;
  std::atomic<int> pid[MOST], aborted[MOST];
  Channel channel[]; // from rank s to rank r at s*ranks + r
};

struct Comm {
  Shared *shared;
  size_t bytes;
  int ranks, rank;
  std::atomic<bool> aborted{false};
  bool sent[MOST] = {}, received[MOST] = {}, broadcast[MOST] = {}; // connected, before any capture
  Channel &to(int r) { return shared->channel[rank * ranks + r]; }
  Channel &from(int r) { return shared->channel[r * ranks + rank]; }
};

static thread_local std::string last_error;
static int fail(int code, const std::string &why) { return last_error = why, code; }

static double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

// The driver library of the emulator, if it is there: a stream runs f, or a capture keeps it.
typedef int (*Submit)(int (*f)(void *), void *data, void *stream, int *captured);
static Submit driver_submit() {
  static Submit f = (Submit)dlsym(RTLD_DEFAULT, "stand_in_submit");
  return f;
}

// Head goes before the bytes of a message.
struct Head {
  uint64_t bytes;
  int32_t root, captured; // root: of a broadcast, else -1
};

// Part is a message under way: first its head, then its bytes.
struct Part {
  bool sends;
  unsigned char *at;
  uint64_t bytes;
  int peer, root;
  Comm *comm;
  void *stream;
  uint64_t done = 0; // bytes of head and message
  Head head = {};
};

struct Copy {
  void *to;
  const void *from;
  size_t bytes;
};

struct Group {
  std::vector<Part> parts;
  std::vector<Copy> copies; // of what the root of a broadcast has elsewhere
  bool captured = false;
};

static thread_local int depth;
static thread_local Group *open_group;

// move moves what it can of a part; it gives -1 where nothing moves now.
static int move(Part &p) {
  Channel &c = p.sends ? p.comm->to(p.peer) : p.comm->from(p.peer);
  uint64_t head = c.head.load(std::memory_order_acquire), tail = c.tail.load(std::memory_order_acquire);
  uint64_t there = p.sends ? ROOM - (head - tail) : head - tail;
  bool any = false;
  while (there > 0 && p.done < sizeof(Head) + p.bytes) {
    bool in_head = p.done < sizeof(Head);
    unsigned char *at = in_head ? (unsigned char *)&p.head + p.done : p.at + (p.done - sizeof(Head));
    uint64_t rest = in_head ? sizeof(Head) - p.done : sizeof(Head) + p.bytes - p.done;
    uint64_t place = (p.sends ? head : tail) % ROOM, n = std::min({rest, there, ROOM - place});
    if (p.sends) memcpy(c.data + place, at, n), c.head.store(head += n, std::memory_order_release);
    else memcpy(at, c.data + place, n), c.tail.store(tail += n, std::memory_order_release);
    p.done += n, there -= n, any = true;
    if (!p.sends && in_head && p.done == sizeof(Head)) {
      if (p.head.bytes != p.bytes || p.head.root != p.root)
        return fail(USAGE, "rank " + std::to_string(p.peer) + " sends " + std::to_string(p.head.bytes) + " bytes, and " + std::to_string(p.bytes) + " are expected");
    }
  }
  return any ? OK : -1;
}

static bool gone(Comm *c) {
  if (!getenv("STAND_IN_NOTICES")) return false;
  for (int r = 0; r < c->ranks; r++)
    if (r != c->rank && (c->shared->aborted[r] || kill(c->shared->pid[r], 0))) return true;
  return false;
}

// run moves all parts of a group; those between two ranks one after the other.
static int run(void *data) {
  Group *g = (Group *)data;
  std::vector<Part> parts = g->parts; // a graph runs it again
  for (Part &p : parts) p.head = Head{p.bytes, p.root, g->captured};
  for (Copy &c : g->copies) memcpy(c.to, c.from, c.bytes);
  size_t done = 0;
  for (double since = now(); done < parts.size();) {
    bool moved = false, busy[2][MOST] = {};
    for (Part &p : parts) {
      if (p.done == sizeof(Head) + p.bytes || busy[p.sends][p.peer]) continue;
      int captured = g->captured, code = move(p);
      if (code > 0) return code;
      if (!p.sends && p.done >= sizeof(Head) && p.head.captured != captured) return fail(USAGE, "an operation is captured by one rank and not by another");
      moved |= code == OK;
      if (p.done == sizeof(Head) + p.bytes) done++;
      else busy[p.sends][p.peer] = true;
    }
    if (parts[0].comm->aborted) return fail(SYSTEM, "the communicator was aborted");
    if (moved) since = now();
    else if (now() - since > PATIENCE) return fail(SYSTEM, "no rank moves");
    else usleep(50);
  }
  return OK;
}

static int submit(Group *g) {
  if (g->parts.empty()) return delete g, OK;
  void *stream = g->parts[0].stream;
  if (!driver_submit()) {
    int code = run(g);
    return delete g, code;
  }
  int captured = 0;
  driver_submit()(nullptr, nullptr, stream, &captured);
  for (Part &p : g->parts) {
    bool *met = p.root >= 0 ? p.comm->broadcast + p.root : (p.sends ? p.comm->sent : p.comm->received) + p.peer;
    if (captured && !*met) return fail(USAGE, "two ranks meet for the first time in a capture");
  }
  for (Part &p : g->parts) *(p.root >= 0 ? p.comm->broadcast + p.root : (p.sends ? p.comm->sent : p.comm->received) + p.peer) = true;
  g->captured = captured;
  int code = driver_submit()(run, g, stream, &captured);
  if (!captured) delete g;
  return code;
}

static int add(Comm *c, bool sends, const void *at, size_t n, int type, int peer, int root, void *stream) {
  if (!c || c->aborted) return fail(ARGUMENT, "no communicator");
  if (type != 0 && type != 1) return fail(ARGUMENT, "only bytes are moved here");
  if (peer < 0 || peer >= c->ranks || peer == c->rank) return fail(ARGUMENT, "no such peer");
  open_group->parts.push_back(Part{sends, (unsigned char *)at, n, peer, root, c, stream});
  if (open_group->parts[0].stream != stream || open_group->parts[0].comm != c) return fail(USAGE, "a group of two streams");
  return OK;
}

API int ncclGetVersion(int *v) {
  const char *s = getenv("STAND_IN_NCCL_VERSION");
  return *v = s ? atoi(s) : 23203, OK;
}
API const char *ncclGetErrorString(int code) {
  switch (code) {
  case OK: return "no error";
  case SYSTEM: return "unhandled system error";
  case ARGUMENT: return "invalid argument";
  case USAGE: return "invalid usage";
  case REMOTE: return "remote process exited or there was a network error";
  }
  return "unknown result code";
}
API const char *ncclGetLastError(void *) { return last_error.c_str(); }

API int ncclGetUniqueId(ncclUniqueId *id) {
  static std::atomic<int> count;
  memset(id, 0, sizeof *id);
  snprintf(id->internal, sizeof id->internal, "/dev/shm/stepflow-nccl-%d-%d-%.0f", getpid(), count++, now() * 1e9);
  return OK;
}

API int ncclCommInitRank(void **comm, int ranks, ncclUniqueId id, int rank) {
  if (ranks < 1 || ranks > MOST || rank < 0 || rank >= ranks || strncmp(id.internal, "/dev/shm/stepflow-nccl-", 23)) return fail(ARGUMENT, "no such rank or id");
  size_t bytes = sizeof(Shared) + (size_t)ranks * ranks * sizeof(Channel);
  int file = open(id.internal, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, bytes)) return fail(SYSTEM, "no shared memory");
  void *m = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (m == MAP_FAILED) return fail(SYSTEM, "no shared memory");
  Shared *s = (Shared *)m;
  s->pid[rank] = getpid();
  s->joined++;
  for (double since = now(); s->joined < ranks; usleep(50))
    if (now() - since > PATIENCE) return unlink(id.internal), fail(SYSTEM, "ranks do not come");
  unlink(id.internal); // whoever comes first; all have it mapped
  Comm *c = new Comm;
  c->shared = s, c->bytes = bytes, c->ranks = ranks, c->rank = rank;
  return *comm = c, OK;
}
API int ncclCommGetAsyncError(void *comm, int *code) {
  *code = gone((Comm *)comm) ? fail(REMOTE, "a rank is gone") : OK;
  return OK;
}
API int ncclCommAbort(void *comm) { // what is under way may still read it
  Comm *c = (Comm *)comm;
  c->shared->aborted[c->rank] = 1;
  return c->aborted = true, OK;
}
API int ncclCommDestroy(void *comm) {
  Comm *c = (Comm *)comm;
  if (c->aborted) return fail(ARGUMENT, "no communicator");
  c->shared->left++;
  for (double since = now(); c->shared->left < c->ranks; usleep(50)) // the ranks of a machine wait for each other
    if (now() - since > PATIENCE) return fail(SYSTEM, "ranks do not end");
  munmap(c->shared, c->bytes);
  return delete c, OK;
}

API int ncclGroupStart() {
  if (depth++ == 0) open_group = new Group;
  return OK;
}
API int ncclGroupEnd() {
  if (depth == 0) return fail(USAGE, "no group is open");
  if (--depth > 0) return OK;
  Group *g = open_group;
  return open_group = nullptr, submit(g);
}
API int ncclSend(const void *at, size_t n, int type, int peer, void *comm, void *stream) {
  ncclGroupStart();
  int code = add((Comm *)comm, true, at, n, type, peer, -1, stream), end = ncclGroupEnd();
  return code ? code : end;
}
API int ncclRecv(void *at, size_t n, int type, int peer, void *comm, void *stream) {
  ncclGroupStart();
  int code = add((Comm *)comm, false, at, n, type, peer, -1, stream), end = ncclGroupEnd();
  return code ? code : end;
}
API int ncclBroadcast(const void *from, void *to, size_t n, int type, int root, void *comm, void *stream) {
  Comm *c = (Comm *)comm;
  ncclGroupStart();
  int code = OK;
  if (c->rank != root) code = add(c, false, to, n, type, root, root, stream);
  else
    for (int r = 0; r < c->ranks && !code; r++)
      if (r != root) code = add(c, true, from, n, type, r, root, stream);
  if (c->rank == root && from != to) open_group->copies.push_back(Copy{to, from, n});
  int end = ncclGroupEnd();
  return code ? code : end;
}

// Calls into libtorch's CUDA half. What those functions throw must not reach Rust, which cannot catch it: here it becomes
// a message.
//
// The functions are looked up when the program runs (symbols.rs), and come in as pointers: the program is linked against
// libtorch's CPU half alone, and headers of CUDA are not needed to build it.

#include <cstddef>
#include <cstring>
#include <exception>
#include <utility>

namespace {

// The id of a memory pool, as ATen/cuda/CUDAGraph.h has it.
using Pool = std::pair<unsigned long long, unsigned long long>;

// A C string of at most `size` bytes, the end included.
struct Message {
    char* text;
    std::size_t size;

    void set(const char* what) const {
        if (size == 0) return;
        std::strncpy(text, what, size - 1);
        text[size - 1] = '\0';
    }
};

// 0, or 1 and the message of what `call` threw.
template <class Call>
int guarded(Message message, Call call) noexcept {
    try {
        call();
        return 0;
    } catch (const std::exception& error) {
        message.set(error.what());
    } catch (...) {
        message.set("an exception without a message");
    }
    return 1;
}

}  // namespace

// A member function is called as what it is to a compiler on every platform that CUDA is on: a function whose first
// argument is the object.

// CUDAGraph::CUDAGraph(bool keep_graph)
extern "C" int reverie_graph_new(void (*function)(void*, bool), void* graph, char* text, std::size_t size) {
    return guarded({text, size}, [=] { function(graph, false); });
}

// CUDAGraph::capture_begin(MempoolId_t pool, cudaStreamCaptureMode mode)
extern "C" int reverie_graph_begin(void (*function)(void*, Pool, int), void* graph, const unsigned long long* pool,
                                   int mode, char* text, std::size_t size) {
    return guarded({text, size}, [=] { function(graph, Pool{pool[0], pool[1]}, mode); });
}

// CUDAGraph::capture_end(), CUDAGraph::replay() and the destructor
extern "C" int reverie_graph_call(void (*function)(void*), void* graph, char* text, std::size_t size) {
    return guarded({text, size}, [=] { function(graph); });
}

// MempoolId_t CUDAGraph::pool()
extern "C" int reverie_graph_pool(Pool (*function)(void*), void* graph, unsigned long long* pool, char* text,
                                  std::size_t size) {
    return guarded({text, size}, [=] {
        const Pool id = function(graph);
        pool[0] = id.first;
        pool[1] = id.second;
    });
}

// Depth of one picture with an engine of a bundle: engines/tensorrt-<precision>.engine, TensorRT 8.5 to 11.
//
//     depth ENGINE PICTURE.ppm DEPTH.pgm
//
// PICTURE is binary PPM (P6) of the size that the bundle's README names; DEPTH is 16-bit PGM in millimetres. An engine
// fits the TensorRT and the GPU it was built with: `python3 run.py` in the bundle builds it and tests it.

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

class Logger : public nvinfer1::ILogger {
    void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override {
        if (severity <= Severity::kERROR) std::fprintf(stderr, "TensorRT: %s\n", message);
    }
};

void check(cudaError_t status, char const* what) {
    if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

// One tensor: pinned memory here and its twin on the device.
class Buffer {
public:
    explicit Buffer(std::size_t bytes) : bytes_(bytes) {
        check(cudaMalloc(&device_, bytes), "cudaMalloc");
        check(cudaMallocHost(&host_, bytes), "cudaMallocHost");
    }
    ~Buffer() {
        cudaFree(device_);
        cudaFreeHost(host_);
    }
    Buffer(Buffer const&) = delete;
    Buffer& operator=(Buffer const&) = delete;

    void* device() const { return device_; }
    template <typename T>
    T* host() const { return static_cast<T*>(host_); }
    void upload(cudaStream_t stream) const {
        check(cudaMemcpyAsync(device_, host_, bytes_, cudaMemcpyHostToDevice, stream), "upload");
    }
    void download(cudaStream_t stream) const {
        check(cudaMemcpyAsync(host_, device_, bytes_, cudaMemcpyDeviceToHost, stream), "download");
    }

private:
    std::size_t bytes_;
    void* device_ = nullptr;
    void* host_ = nullptr;
};

struct Picture {
    int height, width;
    std::vector<std::uint8_t> rgb;
};

Picture read_ppm(std::string const& path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    int most = 0;
    Picture picture{};
    file >> kind;
    for (int* number : {&picture.width, &picture.height, &most}) {
        while ((file >> std::ws).peek() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
        file >> *number;
    }
    if (!file || kind != "P6" || most != 255) throw std::runtime_error(path + " is not a binary 8-bit PPM");
    file.get();
    picture.rgb.resize(static_cast<std::size_t>(picture.height) * picture.width * 3);
    file.read(reinterpret_cast<char*>(picture.rgb.data()), static_cast<std::streamsize>(picture.rgb.size()));
    if (!file) throw std::runtime_error(path + " is truncated");
    return picture;
}

bool fits(float metres) { return metres > 0.0F && metres < 65.535F; }  // in 16-bit millimetres; 0 elsewhere, and for NaN

void write_pgm(std::string const& path, float const* metres, int height, int width) {
    std::ofstream file(path, std::ios::binary);
    file << "P5\n" << width << " " << height << "\n65535\n";
    for (int pixel = 0; pixel < height * width; ++pixel) {
        auto const millimetres = static_cast<unsigned>(fits(metres[pixel]) ? metres[pixel] * 1000.0F + 0.5F : 0.0F);
        file.put(static_cast<char>(millimetres >> 8)).put(static_cast<char>(millimetres & 255));
    }
    if (!file) throw std::runtime_error(path + " cannot be written");
}

void run(std::string const& engine_path, std::string const& picture_path, std::string const& depth_path) {
    Picture const picture = read_ppm(picture_path);
    std::ifstream file(engine_path, std::ios::binary);
    std::vector<char> const plan((std::istreambuf_iterator<char>(file)), {});
    if (plan.empty()) throw std::runtime_error(engine_path + " cannot be read; build it: python3 run.py");

    Logger logger;
    std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
    if (!runtime) throw std::runtime_error("TensorRT does not start: is the driver installed, are you in the group video?");
#if NV_TENSORRT_MAJOR > 8 || (NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR >= 6)
    runtime->setEngineHostCodeAllowed(true);  // a version-compatible engine brings a part of TensorRT; it is your own
#endif
    std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(plan.data(), plan.size()));
    if (!engine) throw std::runtime_error(engine_path + " cannot be used with this TensorRT or GPU; rebuild it: python3 run.py --rebuild");
    std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());
    if (!context) throw std::runtime_error("Out of memory for running the engine; close other programs");

    if (!context->setInputShape("image", nvinfer1::Dims4(1, picture.height, picture.width, 3)))
        throw std::runtime_error("The engine takes pictures of another size than " + picture_path);
    auto const shape = context->getTensorShape("depth");
    int const height = static_cast<int>(shape.d[1]), width = static_cast<int>(shape.d[2]);
    Buffer image(picture.rgb.size()), depth(sizeof(float) * height * width);
    context->setTensorAddress("image", image.device());
    context->setTensorAddress("depth", depth.device());
    cudaStream_t stream{};
    check(cudaStreamCreate(&stream), "cudaStreamCreate");

    std::copy(picture.rgb.begin(), picture.rgb.end(), image.host<std::uint8_t>());
    double milliseconds = 0;
    for (int turn = 0; turn < 20; ++turn) {  // the first ones settle; the last one counts
        auto const started = std::chrono::steady_clock::now();
        image.upload(stream);
        if (!context->enqueueV3(stream)) throw std::runtime_error("The engine did not run");
        depth.download(stream);
        check(cudaStreamSynchronize(stream), "inference");
        milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - started).count();
    }
    cudaStreamDestroy(stream);
    write_pgm(depth_path, depth.host<float>(), height, width);
    auto const [near, far] = std::minmax_element(depth.host<float>(), depth.host<float>() + height * width);
    std::printf("%dx%d, %.2f to %.2f m, %.2f ms\n", width, height, *near, *far, milliseconds);
}

}  // namespace

int main(int count, char** words) {
    if (count != 4) {
        std::fprintf(stderr, "usage: depth ENGINE PICTURE.ppm DEPTH.pgm\n");
        return 2;
    }
    try {
        run(words[1], words[2], words[3]);
    } catch (std::exception const& error) {
        std::fprintf(stderr, "Error: %s\n", error.what());
        return 1;
    }
    return 0;
}

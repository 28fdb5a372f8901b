// Run a bundle's TensorRT engine on one frame of raw bytes: each output becomes a file of raw numbers.
// NOT COMPILED by the project's tests where TensorRT's headers are missing; it has not run on a device.
//
//   tensorrt_maps MODEL.engine FRAME.raw OUT
//
// MODEL.engine is in engines/ of the bundle after python -m targets judged it on this device. FRAME.raw holds the input
// as the bundle's --io says: for edge height * width * 3 bytes, RGB. It is written for TensorRT 10.

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Logger : nvinfer1::ILogger {
    void log(Severity severity, const char* text) noexcept override {
        if (severity <= Severity::kWARNING) std::cerr << text << "\n";
    }
};

std::vector<char> read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::size_t element_bytes(nvinfer1::DataType type) {
    switch (type) {
        case nvinfer1::DataType::kFLOAT:
        case nvinfer1::DataType::kINT32: return 4;
        case nvinfer1::DataType::kUINT8: return 1;
        default: throw std::runtime_error("no bundle has a tensor of this type");
    }
}

void check(cudaError_t code) {
    if (code != cudaSuccess) throw std::runtime_error(cudaGetErrorString(code));
}

}  // namespace

int main(int count, char** words) {
    if (count != 4) {
        std::cerr << "usage: tensorrt_maps MODEL.engine FRAME.raw OUT\n";
        return 2;
    }
    Logger logger;
    const std::vector<char> plan = read(words[1]), frame = read(words[2]);
    std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
    std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(plan.data(), plan.size()));
    if (!engine) return 1;  // another TensorRT or another GPU than built it; the logger said so
    std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());

    cudaStream_t stream{};
    check(cudaStreamCreate(&stream));
    std::vector<void*> buffers;
    std::vector<std::size_t> bytes;
    for (int index = 0; index < engine->getNbIOTensors(); ++index) {
        const char* name = engine->getIOTensorName(index);
        const nvinfer1::Dims shape = engine->getTensorShape(name);
        std::size_t size = element_bytes(engine->getTensorDataType(name));
        for (int axis = 0; axis < shape.nbDims; ++axis) size *= static_cast<std::size_t>(shape.d[axis]);
        void* buffer = nullptr;
        check(cudaMalloc(&buffer, size));
        context->setTensorAddress(name, buffer);
        if (engine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT) {
            if (frame.size() != size) {
                std::cerr << "expected a frame of " << size << " bytes\n";
                return 1;
            }
            check(cudaMemcpyAsync(buffer, frame.data(), size, cudaMemcpyHostToDevice, stream));
        }
        buffers.push_back(buffer);
        bytes.push_back(size);
    }
    if (!context->enqueueV3(stream)) return 1;
    for (int index = 0; index < engine->getNbIOTensors(); ++index) {
        const char* name = engine->getIOTensorName(index);
        if (engine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT) continue;
        std::vector<char> map(bytes[static_cast<std::size_t>(index)]);
        check(cudaMemcpyAsync(map.data(), buffers[static_cast<std::size_t>(index)], map.size(), cudaMemcpyDeviceToHost, stream));
        check(cudaStreamSynchronize(stream));
        std::ofstream(std::string(words[3]) + "/" + name + ".raw", std::ios::binary)
            .write(map.data(), static_cast<std::streamsize>(map.size()));
        std::cout << name << " " << map.size() << " bytes\n";
    }
    for (void* buffer : buffers) check(cudaFree(buffer));
    check(cudaStreamDestroy(stream));
}

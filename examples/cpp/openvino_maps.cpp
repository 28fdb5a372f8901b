// Run a bundle's OpenVINO IR, built with --io edge, on one frame of raw bytes: each output becomes a file of raw numbers.
//
//   openvino_maps MODEL.xml PRECISION FRAME.rgb OUT
//
// PRECISION is that of the variant that was judged: f32, bf16 or f16. FRAME.rgb holds height * width * 3 bytes, RGB.

#include <openvino/openvino.hpp>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

// The task's name: a port may have several, and the one that the bundle means is that of its Result.
static std::string task_of(const ov::Output<const ov::Node>& output) {
    const std::string name = output.get_node()->get_friendly_name();
    return name.substr(0, name.find("/sink_port_"));
}

int main(int count, char** words) {
    if (count != 5) {
        std::cerr << "usage: openvino_maps MODEL.xml f32|bf16|f16 FRAME.rgb OUT\n";
        return 2;
    }
    const ov::element::Type precision(words[2]);
    ov::Core core;
    auto model = core.compile_model(words[1], "CPU", ov::hint::inference_precision(precision),
                                    ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY));
    if (model.get_property(ov::hint::inference_precision) != precision) {
        std::cerr << "this device computes in another precision than was judged\n";
        return 1;
    }

    std::ifstream file(words[3], std::ios::binary);
    std::vector<char> frame((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    ov::Tensor image(model.input().get_element_type(), model.input().get_shape());  // uint8 [1, height, width, 3]
    if (image.get_element_type() != ov::element::u8 || frame.size() != image.get_byte_size()) {
        std::cerr << "expected a frame of " << image.get_byte_size() << " bytes and a bundle with --io edge\n";
        return 1;
    }
    std::copy(frame.begin(), frame.end(), static_cast<char*>(image.data()));

    auto request = model.create_infer_request();  // a program keeps it, and calls it for each frame
    request.set_input_tensor(image);
    request.start_async();  // infer() of OpenVINO 2026.4 drops the errors of a graph that runs
    request.wait();
    for (const auto& output : model.outputs()) {
        const ov::Tensor map = request.get_tensor(output);
        std::ofstream out(std::string(words[4]) + "/" + task_of(output) + ".raw", std::ios::binary);
        out.write(static_cast<const char*>(map.data()), static_cast<std::streamsize>(map.get_byte_size()));
        std::cout << task_of(output) << " " << map.get_element_type() << " " << map.get_shape() << "\n";
    }
}

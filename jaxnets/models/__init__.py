"""Networks that the field's textbooks name, one file a family, presets as data.

`create("resnet50", rngs=nnx.Rngs(0))` makes one by its name, which are torchvision's
where it has the network.
"""

# Any preset by its name
from jaxnets.models._presets import create as create
from jaxnets.models._presets import names as names

# The families
from jaxnets.models._alexnet import AlexNet as AlexNet
from jaxnets.models._googlenet import GoogLeNet as GoogLeNet
from jaxnets.models._lenet import LeNet5 as LeNet5
from jaxnets.models._lenet import ModernLeNet as ModernLeNet
from jaxnets.models._resnet import ResNet as ResNet
from jaxnets.models._vgg import VGG as VGG

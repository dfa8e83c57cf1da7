"""The words of the sample manual, apart from its layout."""

from __future__ import annotations

SAFETY = [
    "Place the purifier on a firm, level floor at least 20 cm from walls, curtains and furniture, "
    "so that air can enter on all sides. Do not stand it beside a heater or in a bathroom.",
    "Use only the supplied 24 V power adapter. Pull the plug before you open the filter door or "
    "clean the housing. Never let water run into the air outlet, and do not push fingers or "
    "objects through the grille.",
    "Children aged eight and over may use the appliance if an adult has shown them how. The "
    "packaging bag is not a toy: keep it away from small children.",
    "The carton holds the parts listed below. If one is missing, contact the dealer within "
    "fourteen days.",
]

BOX_ITEMS: list[tuple[str, ...]] = [
    ("Part", "Pieces", "Where to find it"),
    ("AirLeaf 300 main unit", "1", "centre of the carton"),
    ("Combination filter F3", "1", "inside the unit, in a bag"),
    ("Power adapter, 24 V", "1", "side compartment"),
    ("Remote control", "1", "top tray"),
    ("CR2032 battery", "1", "in the remote control"),
    ("Manual and warranty card", "1", "top tray"),
]

OPERATION = [
    "Before first use, open the door at the back, take the filter out of its plastic bag and put "
    "it back with the arrow pointing inwards. The purifier does not clean anything while the "
    "filter is still wrapped.",
    "Connect the adapter and touch the power symbol. The ring shows the air quality: green is "
    "good, yellow is moderate and red is poor. The number in the middle is the concentration of "
    "fine dust (PM2.5) in micrograms per cubic metre.",
    "To pair the purifier with your telephone, hold the Wi-Fi key for five seconds until the ring "
    "blinks blue, then follow the steps in the AirLeaf app. Only 2.4 GHz networks are supported.",
]

CONTROLS: list[tuple[str, ...]] = [
    ("Key", "What it does"),
    ("Power", "Switches the purifier on or to standby"),
    ("Auto", "Lets the dust sensor choose the fan speed"),
    ("Night", "Slowest speed, lights off, no beeps"),
    ("Timer", "Switches off after 1, 2, 4 or 8 hours"),
    ("Lock", "Hold for 3 seconds to block all keys (child lock)"),
    ("Reset", "Hold for 6 seconds after a filter change"),
]

PERFORMANCE = [
    "At its highest speed the purifier delivers 330 cubic metres of clean air an hour; at its "
    "lowest it is quieter than a whisper. The figure shows both for each of the five speeds.",
    "In a room of 20 square metres the air is cleaned about six times an hour at speed 5, and a "
    "little more than once an hour at speed 1. After cooking, run speed 4 or 5 for fifteen "
    "minutes and then return to Auto.",
    "A filter lasts about twelve months at eight hours a day. Smoke, pets and building dust "
    "shorten its life; the filter symbol lights up when fewer than 5 percent remain.",
]

CHINESE = [
    "4  中文快速指南",
    "使用前请打开机身背面的滤网门，取出滤网并撕掉塑料包装袋，再按箭头方向装回。滤网未拆封时，净化器不起作用。",
    "将净化器放在平整的地面上，四周与墙壁、窗帘和家具至少保持二十厘米距离。不要放在浴室里，也不要紧靠暖气。",
    "接通电源后轻触电源键开机。圆环灯显示空气质量：绿色为良好，黄色为一般，红色为较差。中间的数字是细颗粒物浓度，单位为微克每立方米。",
    "按自动键，机器会根据传感器读数调节风速。睡前按夜间键，风速降到最低，指示灯全部熄灭。长按锁定键三秒可开启儿童锁，再次长按三秒解除。",
    "滤网清洁与更换：预滤网每两周用吸尘器清洁一次。复合滤网不能水洗，每天使用八小时约可用十二个月。滤网指示灯亮起后请更换滤网，然后长按复位键六秒。",
    "联网方法：长按无线键五秒，圆环灯闪烁蓝光后，在手机应用中按提示操作。仅支持2.4 GHz无线网络。",
    "如出现异味、异响或指示灯常红，请参阅第五章故障排除，或联系售后服务。",
]

FAULTS: list[tuple[str, ...]] = [
    ("What you notice", "Possible cause", "What to do"),
    (
        "Does not switch on",
        "Adapter loose, or the\nfilter door is open",
        "Push the plug in; close\nthe door until it clicks",
    ),
    ("Keys do not react", "Child lock is on", "Hold Lock for 3 seconds"),
    (
        "Ring stays red",
        "Sensor is dusty, or a\nwindow is open",
        "Wipe the sensor lens with\na dry cotton bud",
    ),
    ("Smells unpleasant", "Filter is full or damp", "Replace the filter; do\nnot wash it"),
    (
        "Loud rattling noise",
        "Bag left on the filter,\nor an object in the fan",
        "Unplug, take out the\nfilter and look inside",
    ),
    ("Filter light stays on\nafter a change", "Counter was not reset", "Hold Reset for 6 seconds"),
    ("No Wi-Fi connection", "Router uses 5 GHz only", "Switch on 2.4 GHz and\npair again"),
    ("Error E4", "Motor is blocked", "Unplug for ten minutes,\nthen call the service"),
]

SPECIFICATIONS: list[tuple[str, ...]] = [
    ("Item", "Value"),
    ("Model", "AirLeaf 300 (AL-300E)"),
    ("Clean air delivery rate", "330 cubic metres an hour"),
    ("Room size", "up to 36 square metres"),
    ("Noise", "24 to 54 dB(A)"),
    ("Rated power", "38 W"),
    ("Standby power", "0.8 W"),
    ("Supply voltage", "100-240 V, 50/60 Hz; 24 V DC"),
    ("Filter", "F3: pre-filter, HEPA H13, carbon"),
    ("Filter life", "about 12 months"),
    ("Wireless", "Wi-Fi 802.11 b/g/n, 2.4 GHz"),
    ("Dimensions", "240 x 240 x 560 mm"),
    ("Weight", "5.4 kg with filter"),
    ("Cable length", "1.8 m"),
]

WARRANTY = (
    ("Name", "Address", "Bought on", "Serial number", "Shop"),
    (
        "The warranty lasts 24 months from the day",
        "of purchase. It does not cover filters,",
        "batteries or damage caused by water.",
        "Keep this card together with the receipt.",
    ),
)

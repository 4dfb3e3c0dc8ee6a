//! The published facts of each skeleton. Links and pairs are indices into `names`; a pair is (left, right).

use super::{Skeleton, sides};

/// COCO body: <https://cocodataset.org>; mmpose `coco.py`.
pub(super) static COCO_17: Skeleton = Skeleton {
    name: "coco-17",
    points: 17,
    links: &[
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9),
        (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ],
    names: &[
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
        "right_knee", "left_ankle", "right_ankle",
    ],
    sides: &sides::<17>(&[(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)]),
    sigmas: Some(&[
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
        0.087, 0.087, 0.089, 0.089,
    ]),
    fine: 17..17,
};

/// Halpe body with feet: <https://github.com/Fang-Haoshu/Halpe-FullBody>; mmpose `halpe26.py`.
pub(super) static HALPE_26: Skeleton = Skeleton {
    name: "halpe-26",
    points: 26,
    links: &[
        (15, 13), (13, 11), (11, 19), (16, 14), (14, 12), (12, 19), (17, 18), (18, 19), (18, 5), (5, 7),
        (7, 9), (18, 6), (6, 8), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (15, 20),
        (15, 22), (15, 24), (16, 21), (16, 23), (16, 25),
    ],
    names: &[
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
        "right_knee", "left_ankle", "right_ankle", "head", "neck", "hip", "left_big_toe", "right_big_toe",
        "left_small_toe", "right_small_toe", "left_heel", "right_heel",
    ],
    sides: &sides::<26>(&[
        (1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (20, 21), (22, 23), (24, 25),
    ]),
    sigmas: Some(&[
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
        0.087, 0.087, 0.089, 0.089, 0.026, 0.026, 0.066, 0.079, 0.079, 0.079, 0.079, 0.079, 0.079,
    ]),
    fine: 26..26,
};

/// COCO body, feet, face and hands: <https://github.com/jin-s13/COCO-WholeBody>; mmpose `coco_wholebody.py`. The face is
/// the 68 points of 300-W, which begin at the person's right.
pub(super) static COCO_WHOLEBODY_133: Skeleton = Skeleton {
    name: "coco-wholebody-133",
    points: 133,
    links: &[
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9),
        (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (15, 17), (15, 18), (15, 19),
        (16, 20), (16, 21), (16, 22), (91, 92), (92, 93), (93, 94), (94, 95), (91, 96), (96, 97), (97, 98),
        (98, 99), (91, 100), (100, 101), (101, 102), (102, 103), (91, 104), (104, 105), (105, 106), (106, 107),
        (91, 108), (108, 109), (109, 110), (110, 111), (112, 113), (113, 114), (114, 115), (115, 116),
        (112, 117), (117, 118), (118, 119), (119, 120), (112, 121), (121, 122), (122, 123), (123, 124),
        (112, 125), (125, 126), (126, 127), (127, 128), (112, 129), (129, 130), (130, 131), (131, 132),
    ],
    names: &[
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
        "right_knee", "left_ankle", "right_ankle", "left_big_toe", "left_small_toe", "left_heel",
        "right_big_toe", "right_small_toe", "right_heel", "face-0", "face-1", "face-2", "face-3", "face-4",
        "face-5", "face-6", "face-7", "face-8", "face-9", "face-10", "face-11", "face-12", "face-13",
        "face-14", "face-15", "face-16", "face-17", "face-18", "face-19", "face-20", "face-21", "face-22",
        "face-23", "face-24", "face-25", "face-26", "face-27", "face-28", "face-29", "face-30", "face-31",
        "face-32", "face-33", "face-34", "face-35", "face-36", "face-37", "face-38", "face-39", "face-40",
        "face-41", "face-42", "face-43", "face-44", "face-45", "face-46", "face-47", "face-48", "face-49",
        "face-50", "face-51", "face-52", "face-53", "face-54", "face-55", "face-56", "face-57", "face-58",
        "face-59", "face-60", "face-61", "face-62", "face-63", "face-64", "face-65", "face-66", "face-67",
        "left_hand_root", "left_thumb1", "left_thumb2", "left_thumb3", "left_thumb4", "left_forefinger1",
        "left_forefinger2", "left_forefinger3", "left_forefinger4", "left_middle_finger1",
        "left_middle_finger2", "left_middle_finger3", "left_middle_finger4", "left_ring_finger1",
        "left_ring_finger2", "left_ring_finger3", "left_ring_finger4", "left_pinky_finger1",
        "left_pinky_finger2", "left_pinky_finger3", "left_pinky_finger4", "right_hand_root", "right_thumb1",
        "right_thumb2", "right_thumb3", "right_thumb4", "right_forefinger1", "right_forefinger2",
        "right_forefinger3", "right_forefinger4", "right_middle_finger1", "right_middle_finger2",
        "right_middle_finger3", "right_middle_finger4", "right_ring_finger1", "right_ring_finger2",
        "right_ring_finger3", "right_ring_finger4", "right_pinky_finger1", "right_pinky_finger2",
        "right_pinky_finger3", "right_pinky_finger4",
    ],
    sides: &sides::<133>(&[
        (1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (17, 20), (18, 21), (19, 22),
        (39, 23), (38, 24), (37, 25), (36, 26), (35, 27), (34, 28), (33, 29), (32, 30), (49, 40), (48, 41),
        (47, 42), (46, 43), (45, 44), (58, 54), (57, 55), (68, 59), (67, 60), (66, 61), (65, 62), (70, 63),
        (69, 64), (77, 71), (76, 72), (75, 73), (78, 82), (79, 81), (87, 83), (86, 84), (88, 90), (91, 112),
        (92, 113), (93, 114), (94, 115), (95, 116), (96, 117), (97, 118), (98, 119), (99, 120), (100, 121),
        (101, 122), (102, 123), (103, 124), (104, 125), (105, 126), (106, 127), (107, 128), (108, 129),
        (109, 130), (110, 131), (111, 132),
    ]),
    sigmas: Some(&[
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
        0.087, 0.087, 0.089, 0.089, 0.068, 0.066, 0.066, 0.092, 0.094, 0.094, 0.042, 0.043, 0.044,
        0.043, 0.04, 0.035, 0.031, 0.025, 0.02, 0.023, 0.029, 0.032, 0.037, 0.038, 0.043, 0.041, 0.045,
        0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009, 0.007, 0.007,
        0.007, 0.012, 0.009, 0.008, 0.016, 0.01, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008,
        0.011, 0.012, 0.01, 0.034, 0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.01, 0.008, 0.009, 0.009,
        0.009, 0.007, 0.007, 0.008, 0.011, 0.008, 0.008, 0.008, 0.01, 0.008, 0.029, 0.022, 0.035, 0.037,
        0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024, 0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.02,
        0.019, 0.022, 0.031, 0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018,
        0.024, 0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.02, 0.019, 0.022, 0.031,
    ]),
    fine: 23..133,
};

/// One hand, left or right alike: mmpose `onehand10k.py`; the same order in `coco_wholebody_hand.py`, which has the sigmas.
pub(super) static HAND_21: Skeleton = Skeleton {
    name: "hand-21",
    points: 21,
    links: &[
        (0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 6), (6, 7), (7, 8), (0, 9), (9, 10), (10, 11), (11, 12),
        (0, 13), (13, 14), (14, 15), (15, 16), (0, 17), (17, 18), (18, 19), (19, 20),
    ],
    names: &[
        "wrist", "thumb1", "thumb2", "thumb3", "thumb4", "forefinger1", "forefinger2", "forefinger3",
        "forefinger4", "middle_finger1", "middle_finger2", "middle_finger3", "middle_finger4", "ring_finger1",
        "ring_finger2", "ring_finger3", "ring_finger4", "pinky_finger1", "pinky_finger2", "pinky_finger3",
        "pinky_finger4",
    ],
    sides: &sides::<21>(&[]),
    sigmas: Some(&[
        0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024, 0.022, 0.026,
        0.017, 0.021, 0.021, 0.032, 0.02, 0.019, 0.022, 0.031,
    ]),
    fine: 21..21,
};

/// Face without links and sigmas: <https://github.com/JDAI-CV/lapa-dataset>; mmpose `lapa.py`, which tells the mirrored
/// pairs. The outline begins at the person's right, as that of 300-W does, from which mmpose maps it (`kpt_68_to_106`).
pub(super) static FACE_106: Skeleton = Skeleton {
    name: "face-106",
    points: 106,
    links: &[],
    names: &[
        "kpt-0", "kpt-1", "kpt-2", "kpt-3", "kpt-4", "kpt-5", "kpt-6", "kpt-7", "kpt-8", "kpt-9", "kpt-10",
        "kpt-11", "kpt-12", "kpt-13", "kpt-14", "kpt-15", "kpt-16", "kpt-17", "kpt-18", "kpt-19", "kpt-20",
        "kpt-21", "kpt-22", "kpt-23", "kpt-24", "kpt-25", "kpt-26", "kpt-27", "kpt-28", "kpt-29", "kpt-30",
        "kpt-31", "kpt-32", "kpt-33", "kpt-34", "kpt-35", "kpt-36", "kpt-37", "kpt-38", "kpt-39", "kpt-40",
        "kpt-41", "kpt-42", "kpt-43", "kpt-44", "kpt-45", "kpt-46", "kpt-47", "kpt-48", "kpt-49", "kpt-50",
        "kpt-51", "kpt-52", "kpt-53", "kpt-54", "kpt-55", "kpt-56", "kpt-57", "kpt-58", "kpt-59", "kpt-60",
        "kpt-61", "kpt-62", "kpt-63", "kpt-64", "kpt-65", "kpt-66", "kpt-67", "kpt-68", "kpt-69", "kpt-70",
        "kpt-71", "kpt-72", "kpt-73", "kpt-74", "kpt-75", "kpt-76", "kpt-77", "kpt-78", "kpt-79", "kpt-80",
        "kpt-81", "kpt-82", "kpt-83", "kpt-84", "kpt-85", "kpt-86", "kpt-87", "kpt-88", "kpt-89", "kpt-90",
        "kpt-91", "kpt-92", "kpt-93", "kpt-94", "kpt-95", "kpt-96", "kpt-97", "kpt-98", "kpt-99", "kpt-100",
        "kpt-101", "kpt-102", "kpt-103", "kpt-104", "kpt-105",
    ],
    sides: &sides::<106>(&[
        (32, 0), (31, 1), (30, 2), (29, 3), (28, 4), (27, 5), (26, 6), (25, 7), (24, 8), (23, 9), (22, 10),
        (21, 11), (20, 12), (19, 13), (18, 14), (17, 15), (46, 33), (45, 34), (44, 35), (43, 36), (42, 37),
        (50, 38), (49, 39), (48, 40), (47, 41), (65, 55), (64, 56), (63, 57), (62, 58), (61, 59), (79, 66),
        (78, 67), (77, 68), (76, 69), (75, 70), (82, 71), (81, 72), (80, 73), (83, 74), (90, 84), (89, 85),
        (88, 86), (91, 95), (92, 94), (100, 96), (99, 97), (101, 103), (105, 104),
    ]),
    sigmas: None,
    fine: 0..106,
};

/// Four-legged animals: <https://github.com/AlexTheBad/AP-10K>; mmpose `ap10k.py`.
pub(super) static AP10K_17: Skeleton = Skeleton {
    name: "ap10k-17",
    points: 17,
    links: &[
        (0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (5, 6), (6, 7), (3, 8), (8, 9), (9, 10), (4, 11),
        (11, 12), (12, 13), (4, 14), (14, 15), (15, 16),
    ],
    names: &[
        "L_Eye", "R_Eye", "Nose", "Neck", "Root of tail", "L_Shoulder", "L_Elbow", "L_F_Paw", "R_Shoulder",
        "R_Elbow", "R_F_Paw", "L_Hip", "L_Knee", "L_B_Paw", "R_Hip", "R_Knee", "R_B_Paw",
    ],
    sides: &sides::<17>(&[(0, 1), (5, 8), (6, 9), (7, 10), (11, 14), (12, 15), (13, 16)]),
    sigmas: Some(&[
        0.025, 0.025, 0.026, 0.035, 0.035, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062, 0.107, 0.087,
        0.089, 0.107, 0.087, 0.089,
    ]),
    fine: 17..17,
};

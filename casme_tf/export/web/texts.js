// All English texts of the page. Sentences of doubt are those of casme_tf.recognition.quality_checks.

/** What a user can put right; its message is shown as it is. */
export class Problem extends Error {}

const percent = (value) => `${Math.round(100 * value)}%`;
const of = (x) => x.toFixed(0);
const sentence = (text) => `${text.replace(/[.\s]+$/, "")}.`;

export const TEXTS = {
  title: "Micro-expressions",
  lead: "Two frames of a face in, the likeliest expression out.",
  privacy: "Nothing leaves this device: only this page reads your pictures and video, and keeps none.",
  source: "Frames from",
  camera: "Camera",
  video: "Video",
  pictures: "Two pictures",

  cameraStart: "Start the camera",
  cameraStop: "Stop and look",
  cameraNote: "The last three seconds are kept until you stop. A micro-expression lasts 1/25 to 1/2 s: a phone’s "
    + "camera, at 30 frames a second, sees it in a few frames only. Light from the front and a still head help.",
  cameraPicture: "What the camera sees",
  cameraOpening: "Opening the camera. Allow it if the browser asks.",
  cameraLooking: "Looking for a face …",
  cameraSteady: "The face is followed. Hold your head still.",
  cameraLost: "The face is lost. Look into the camera.",

  videoChoose: "Choose a video",
  videoNote: "One movement of one face, at most 200 frames from the place where the video stands. Films of a "
    + "high-speed camera are often stored slower: then enter the speed they were filmed at.",
  videoPicture: "The chosen video",
  videoAgain: "Look from here",
  videoFps: "Filmed at, frames a second",
  taking: "Taking the frames …",
  measuring: (number, all) => `Following the face: frame ${number} of ${all}`,
  cutShort: (most) => `Only ${most} frames were looked at. Move to another place in the video and look from there.`,

  onset: "Onset",
  apex: "Apex",
  onsetNote: "still neutral",
  apexNote: "strongest",
  choose: "Choose",
  pictureAlt: (name) => `The chosen ${name} frame`,
  example: "Choose two frames of one film, of one size. The face is cut out of both with one box.",

  timeline: "Movement",
  byHand: "Onset and apex by hand",
  timelineNote: "Motion of the face without the head’s, % of the distance of the eyes. Onset is the quietest frame before "
    + "the rise, apex the strongest after it.",
  frameOf: (number, seconds) => `frame ${number}, ${seconds.toFixed(3)} s`,
  curveAlt: (onset, apex) => `Curve of the movement: onset at frame ${onset}, apex at frame ${apex}.`,
  automatic: "Find them again",

  answer: "Answer",
  none: "no clear expression",
  probability: "Probability",
  likeliest: "likeliest",
  units: "Action units",
  unitsNote: "by the recognizer of the package",
  noUnits: "none above 0.5",
  unit: (number) => UNITS[number] ?? "",
  strength: (px) => `${px.toFixed(1)} px`,
  doubts: "Reasons for distrust",
  noDoubts: "The frames give no reason for distrust of their own. The model may still be wrong.",
  seen: "What was compared",
  motion: "Motion",
  motionNote: (px) => `Motion of the face, without motion of the head: at most ${px.toFixed(2)} px (picture 224 px wide).`,
  legend: "Arrows and colors show the direction, brightness the length.",
  motionAlt: (px) => `Motion from onset to apex as arrows: at most ${px.toFixed(2)} px (picture 224 px wide).`,
  download: "Save the answer (JSON)",
  answered: (label, confidence) => (label ? `Answer: ${label}, probability ${confidence.toFixed(2)}` : `Answer: ${TEXTS.none}`),
  waiting: "No answer yet",
  waitingNote: "Choose where the frames come from. The page finds the face, cuts both frames with one box, and shows "
    + "how probable each class is, with the reasons to distrust it.",
  caution: "A class is a statement about motion in pixels by a model that is often wrong. Not for judging honesty, "
    + "intent, health or fitness for a job.",
  about: (model, madeBy) => `Model: ${model}. Made by ${madeBy}.`,
  licenses: "Licenses",
  loading: "Loading the model …",
  ready: "Ready.",
  working: "Looking …",
  nowOnset: "Now choose the onset.",
  nowApex: "Now choose the apex.",
  newer: "A newer version of this page is there. Reload it.",

  bug: (message) => `Something went wrong in this page: ${sentence(message)} Reload it and try again.`,
  oldBrowser: "This browser is too old for this page. Use a current Chrome, Edge, Firefox or Safari.",
  notWhole: (file) => `The page must have all its files, whole. Received: ${file}, missing or damaged. Reload the page; `
    + "if that does not help, export it again.",
  noCamera: "No camera is found. Connect one, or choose a video.",
  cameraRefused: "The camera is not allowed. Allow it for this page in the browser’s settings, or choose a video.",
  cameraBusy: "The camera cannot be opened; another program may be using it. Close that one and try again.",
  cameraGone: "The camera must stay connected. Received: one that was unplugged or turned off. Connect it and start it again.",
  cameraShort: (seconds) => `The camera must film a face for at least a second. Received: ${seconds.toFixed(1)} s. Film longer.`,
  cameraInsecure: "Browsers open the camera only for pages that come by https or from this machine.",
  cameraNoFace: "The camera must show a face for a moment. Received: none. Look into it, with light from the front.",
  noPicture: (name) => `A frame must be a whole JPEG, PNG or WebP picture. Received: ${name}, which is none.`,
  transparent: (name) => `A frame must be opaque. Received: ${name}, which has transparent parts. Save it without them.`,
  noVideo: (name) => `The video must be one that this browser plays, such as MP4 or WebM. Received: ${name}, which is none.`,
  brokenVideo: "The video must be whole. Received: one that this browser cannot play on. Convert it to MP4 or WebM, or "
    + "choose another one.",
  badSpeed: (value) => `The speed must be 1 to 100000 frames a second. Received: ${value || "no number"}. Enter the speed `
    + "that the camera filmed at.",
  twoSizes: (onset, apex) => "Onset and apex must be frames of one clip, of one size. Received: onset of "
    + `${onset.width}×${onset.height} px, apex of ${apex.width}×${apex.height} px. Choose two frames of one film.`,
  noFace: ({ width, height }) => `A frame must show a face. Received: a frame of ${width}×${height} px in which none is found. `
    + "Choose one with a larger face, seen from the front, in even light.",
  turnedFace: (degrees) => "A frame must show an upright face. Received: a frame in which one is found only when it is "
    + `turned clockwise by ${degrees}°. Turn the frames.`,
  noFaceInClip: (frames) => `A clip must show a face. Received: ${frames === 1 ? "1 frame" : `${frames} frames`} in which none is found. `
    + "Move the video to where a face is seen from the front, or choose another one.",
  tooShort: (frames) => `A clip must have at least 2 frames with a face. Received: ${frames}. Choose a longer one, or an earlier place in it.`,
  lostAfter: "The face must be seen after the onset. Received: a clip that loses it. Choose one with a face that stays in view.",
  wrongOrder: (onset, apex) => `The apex must come after the onset. Received: onset ${onset}, apex ${apex}. Move the apex `
    + "to a later frame, or the onset to an earlier one.",
};

export const DOUBTS = {
  small: (width, least) => `The face is small: ${of(width)} px wide, where ${of(least)} px or more are needed to see a micro-expression.`,
  dark: (light) => `The face is dark: gray level ${of(light)} of 255 on average.`,
  bright: (light) => `The face is overexposed: gray level ${of(light)} of 255 on average.`,
  flat: "The face has too little contrast for its motion to be seen.",
  lost: "The face of the onset frame is not found again in the apex frame: something covers it, the light changed, or the scene did.",
  covered: "Onset and apex differ by more than motion: something covers the face in one of them, or they are of two scenes.",
  large: (share) => `The face moved by ${percent(share)} of the distance of the eyes, more than a micro-expression: a full expression, or speech.`,
  head: (share) => `The head moved by ${percent(share)} of the distance of the eyes between onset and apex, more than any micro-expression moves a face.`,
  light: "The light changed between onset and apex.",
  compressed: "The frames are strongly compressed (JPEG or video of low quality), which moves what did not move.",
  interlaced: "A frame is interlaced: its odd and even rows are of two moments.",
  faces: (count) => `There are ${count} faces; the largest was taken.`,
  cutOff: "The face is cut off by the edge of the frame.",
  turned: (degrees) => `The face seems to be turned: it is found more clearly when the frame is turned clockwise by ${degrees}°.`,
  scene: (number) => `The scene changes at frame ${number}.`,
  unseen: (count, all) => `No face is seen in ${count} of ${all} frames.`,
  short: (frames) => `The clip is short: ${frames} frames.`,
  fast: (fps, seconds) => `The speed is not plausible: at ${of(fps)} frames a second the clip would take ${seconds.toPrecision(2)} s.`,
  slow: (fps) => `The clip is slow: at ${Number(fps.toPrecision(3))} frames a second, a movement of 1/25 s is seen ${fps < 50 ? "once" : "twice"} at most.`,
  rise: (seconds, most) => `The rise takes ${seconds.toFixed(2)} s; a micro-expression takes ${most} s in all.`,
  still: "Nothing moved that stands out from noise.",
  again: (count) => `The face moves again and again, ${count} times in this part of the clip, as in speech or chewing.`,
  unclear: (first, last) => `The apex is not clear: frames ${first} to ${last} may as well be it.`,
};

const UNITS = {
  1: "inner brow raised", 2: "outer brow raised", 4: "brow lowered", 5: "upper lid raised", 6: "cheek raised",
  7: "lids tightened", 9: "nose wrinkled", 10: "upper lip raised", 12: "lip corner pulled up", 14: "dimple",
  15: "lip corner pulled down", 17: "chin raised", 20: "lips stretched", 24: "lips pressed", 25: "lips parted",
  26: "jaw dropped", 45: "blink",
};

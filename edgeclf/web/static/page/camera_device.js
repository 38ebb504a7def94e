// The camera itself: opened, read and closed, and a code for each reason that it cannot be.

import { Problem } from "../core/problem.js";

const IDEAL = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: "environment" };
/** By the name of what getUserMedia throws, as W3C's Media Capture and Streams has them. */
const CODES = /** @type {Record<string, string>} */ ({
  NotAllowedError: "camera_denied", SecurityError: "camera_denied", NotFoundError: "no_camera",
  OverconstrainedError: "no_camera", NotReadableError: "camera_in_use", AbortError: "camera_in_use",
});

export class Camera {
  /** @type {MediaStream | null} */
  #stream = null;
  #canvas = document.createElement("canvas");

  /**
   * @param {HTMLVideoElement} video
   * @param {(problem: Problem) => void} lost Told when it goes while it is used.
   */
  constructor(video, lost) {
    this.video = video;
    this.lost = lost;
  }

  get on() {
    return this.#stream !== null;
  }

  /** @param {string} deviceId Empty for whichever there is. */
  async open(deviceId) {
    this.close();
    if (!isSecureContext) throw new Problem("camera_insecure");
    if (!navigator.mediaDevices?.getUserMedia || !("requestVideoFrameCallback" in this.video)) throw new Problem("no_camera_here");
    const wanted = deviceId ? { ...IDEAL, facingMode: undefined, deviceId: { exact: deviceId } } : IDEAL;
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: /** @type {any} */ (wanted), audio: false });
    } catch (error) {
      const name = error instanceof DOMException ? error.name : "";
      throw CODES[name] ? new Problem(CODES[name]) : Problem.of(error, "camera_failed");
    }
    for (const track of this.#stream.getVideoTracks()) {
      track.addEventListener("ended", () => {
        this.close();
        this.lost(new Problem("camera_lost"));
      });
    }
    this.video.srcObject = this.#stream;
    await this.video.play();
  }

  close() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop(); // which fires no event
    this.#stream = null;
    this.video.srcObject = null;
  }

  /** What there is to choose from; names are known once one was allowed. @returns {Promise<MediaDeviceInfo[]>} */
  async choices() {
    const found = await navigator.mediaDevices.enumerateDevices();
    return found.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
  }

  /** Width and height of its picture. @returns {[number, number]} */
  get size() {
    return [this.video.videoWidth, this.video.videoHeight];
  }

  /**
   * The frame that is there now, as JPEG.
   * @param {[number, number]} size
   * @param {number} quality 0..1.
   * @returns {Promise<Blob | null>}
   */
  grab([width, height], quality) {
    this.#canvas.width = width;
    this.#canvas.height = height;
    const context = this.#canvas.getContext("2d", { alpha: false });
    if (!context) return Promise.resolve(null);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.video, 0, 0, width, height);
    return new Promise((resolve) => this.#canvas.toBlob(resolve, "image/jpeg", quality));
  }

  /**
   * Calls for each new frame, until it is closed; not while nobody looks at the page.
   * @param {(takenMs: number) => void} come
   */
  frames(come) {
    const stream = this.#stream;
    const next = () => {
      if (stream === null || this.#stream !== stream) return;
      this.video.requestVideoFrameCallback((now, { captureTime }) => {
        if (this.#stream === stream) come(captureTime && captureTime <= now ? captureTime : now);
        next();
      });
    };
    next();
  }
}

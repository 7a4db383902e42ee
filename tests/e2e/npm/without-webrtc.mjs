// Stands where npm's webrtc-polyfill would, which is native code: nobody needs it over HTTP or UDP. Undefined, as in a
// browser without WebRTC: the client looks before it uses them.

export const RTCPeerConnection = undefined
export const RTCSessionDescription = undefined
export const RTCIceCandidate = undefined

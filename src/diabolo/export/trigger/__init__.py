"""A network in whole numbers for a trigger or a microcontroller: C, hls4ml, CMSSW."""

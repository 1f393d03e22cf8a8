"""Results out, for the programs of field teams: Timelapse, Camtrap DP, MegaDetector's JSON, Label Studio."""

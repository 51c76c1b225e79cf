"""What a U-Net is trained to do: at which timesteps, with which noise, towards what, and how it is weighed."""
